"""Run a command, and print which of the heavy packages each rank has imported: modules_of_ranks.py COMMAND ..."""

import sys

from hpc_lstm.cli import cli

HEAVY = [
    "boto3",
    "hpc_lstm.clusters.documents",
    "hpc_lstm.cuda.device",
    "hpc_lstm.model.engines.cuda",
    "hpc_lstm.model.engines.keras",
    "hpc_lstm.preprocess.cuda_backend",
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

cli(sys.argv[1:], standalone_mode=False)
sys.stderr.write(f"imported {[name for name in HEAVY if name in sys.modules]}\n")
