"""Prices to windows: slices, scaling, batches."""
