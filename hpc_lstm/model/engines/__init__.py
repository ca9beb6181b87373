"""What computes the steps of training."""
