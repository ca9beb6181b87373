"""A model of how training scales, fitted to measurements."""
