"""Train, and print which of the heavy packages each rank has imported: modules_of_ranks.py CONFIG RUN_DIR."""

import sys

from hpc_lstm.cli import cli

HEAVY = [
    "boto3",
    "hpc_lstm.clusters.documents",
    "hpc_lstm.model.engines.cuda",
    "hpc_lstm.model.engines.keras",
    "keras",
    "matplotlib",
    "ml_dtypes",
    "pandas",
    "pyarrow",
    "pynvml",
    "rich",
    "scipy",
    "tensorboard",
    "tensorflow",
]

config, run_dir = sys.argv[1:]
cli(["train", config, "--run-dir", run_dir], standalone_mode=False)
sys.stderr.write(f"imported {[name for name in HEAVY if name in sys.modules]}\n")
