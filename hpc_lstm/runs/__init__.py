"""A run's directory and its history."""
