"""Checkpoints: the state of all ranks, written completely or not at all, and read back."""
