"""Run a command, and print which of the heavy packages each rank has imported: modules_of_ranks.py COMMAND ..."""

import sys

from hpc_lstm.cli import main

HEAVY = [
    "boto3",
    "botocore",
    "hpc_lstm.clusters.documents",
    "hpc_lstm.cuda.device",
    "hpc_lstm.model.engines.cuda.engine",
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
    "sklearn",
    "statsmodels",
    "tensorboard",
    "tensorflow",
]

try:
    main(sys.argv[1:])
finally:
    sys.stderr.write(f"imported {[name for name in HEAVY if name in sys.modules]}\n")
