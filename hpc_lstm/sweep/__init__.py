"""Scaling sweeps: many short runs of training over ranks and settings, measured, tabulated and extrapolated.

settings -> plan -> runner (local, slurm_jobs) -> worker -> measure -> records
records -> groups -> table, plots, summary, and ``model``, which extrapolates to more ranks -> results
"""
