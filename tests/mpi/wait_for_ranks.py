"""A rank that joins the others, one of which never comes: python wait_for_ranks.py FOLDER."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from hpc_lstm.parallel import launch, mpi_start
from hpc_lstm.parallel.stop_signals import remembered_signals

if not mpi_start.is_first_rank():
    time.sleep(600)
(Path(sys.argv[1]) / "pid").write_text(str(os.getpid()))
mpi_start.STUCK_S = 0.5
with remembered_signals() as signals:
    (Path(sys.argv[1]) / "begun").touch()
    launch.connect(signals=signals)
