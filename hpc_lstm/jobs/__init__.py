"""Slurm jobs, what starts their ranks, and what a machine offers."""
