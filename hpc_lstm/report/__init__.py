"""What people look at: plots, the HTML report, tables of rounds and checkpoints."""
