"""What ``scaling_gpus.py`` and ``scaling_gpus_report.py`` are made of, from what is measured to tables and pictures."""
