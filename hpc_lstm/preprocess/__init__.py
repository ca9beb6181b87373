"""Prices to windows: each rank's slice, scaled and cut into batches."""
