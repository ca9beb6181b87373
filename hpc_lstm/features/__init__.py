"""The columns that a model sees, computed from prices."""
