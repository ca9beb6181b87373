"""Imports NumPy with one thread for products of matrices; to be imported before whatever else imports NumPy.

Those that run the tests side by side are as many as the cores: with a thread for each core in each of them, threads
that look for work, a tenth of a second after every product, take the cores from the others. Programs that the tests
start know nothing of it.
"""

import os

_NAME = "OPENBLAS_NUM_THREADS"
_given = os.environ.get(_NAME)
os.environ.setdefault(_NAME, "1")
import numpy  # noqa: E402

__all__ = ["numpy"]
if _given is None:
    del os.environ[_NAME]
