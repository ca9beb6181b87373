"""Run commands one after the other, and print after each which of the heavy packages each rank has imported by then.

    modules_of_ranks.py COMMAND ... [then COMMAND ...]

Where the environment has what ``benchmarks/first_step.py`` asks for, that reports, too.
"""

import itertools
import os
import sys
from pathlib import Path

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

if "FIRST_STEP_REPORTS" in os.environ:
    sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    from first_step import main
else:
    from hpc_lstm.cli import main

for is_command, words in itertools.groupby(sys.argv[1:], lambda word: word != "then"):
    if is_command:
        try:
            main(list(words))
        except SystemExit as end:
            if end.code:
                raise
        finally:
            sys.stderr.write(f"imported {[name for name in HEAVY if name in sys.modules]}\n")
