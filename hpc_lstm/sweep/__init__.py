"""Scaling sweeps: many short runs of training over ranks and settings, measured, tabled and extrapolated."""
