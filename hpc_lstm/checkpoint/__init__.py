"""The state of all ranks, written whole or not at all, and a run resumed from it."""
