"""The columns that a model sees, computed from prices; ``registry`` lists the kinds there are."""
