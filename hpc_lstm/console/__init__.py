"""What the commands share: how they print, and what a shell completes."""
