"""Two clusters that train one model and meet at a local S3 server: what do their rounds cost?

Half of the GPUs each (or ranks on processors). They train at the same time, for as many steps, in three ways: without
rounds, with rounds that training waits for, and with ``sync.overlap``. Part of ``scaling_gpus.py``.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm.market.synthetic import synthesize
from hpc_lstm.timing.spans import load_timing
from hpc_lstm.timing.timeline import PHASES

NAMES = ("alpha", "beta")
# Seconds that a run may take, and that it may take to end after SIGTERM.
LIMIT_S, ENDING_S = 90.0, 10.0
# Steps between two averages, and averages between two rounds.
EVERY, ROUND_EVERY = 16, 8
# Sizes of the market store.
LEAST_SYMBOLS, SHORTEST_DAYS, LONGEST_DAYS = 8, 400, 4000
BUCKET = "clusters"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
}
CONFIG = """
[data]
store = "{store}"
features = ["open", "high", "low", "close", "volume"]
target = "close"
split = [0.94, 0.03, 0.03]
shard = "{shard}"
[model]
units = {units}
dropout = 0.1
[train]
precision = "{precision}"
engine = "fused"
batch_size = {batch}
epochs = {epochs}
patience = 0
[average]
every = {every}
[checkpoint]
every = 1000000
"""
SYNC = """
[storage]
url = "s3://{bucket}/{way}"
endpoint_url = "{endpoint}"
[sync]
cluster = "{name}"
expected = 2
every = {every}
overlap = {overlap}
"""
# Way of training: value of sync.overlap; None: no rounds.
WAYS = {"alone": None, "waiting": "false", "overlap": "true"}


def write_store(path: Path, windows: int) -> None:
    """Write a store of about as many windows.

    Raises:
        StoreError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    days = LONGEST_DAYS if windows >= LEAST_SYMBOLS * LONGEST_DAYS else SHORTEST_DAYS
    synthesize(path, symbols=max(LEAST_SYMBOLS, windows // days), days=days, seed=0)


def measure_clusters(
    store: Path,
    ranks: int,
    mpiexec: list[str],
    *,
    gpu: bool,
    units: int,
    precision: str,
    batch: int,
    epochs: int,
) -> dict[str, Any]:
    """Train in each way; what each cluster did.

    Args:
        store: a market store, beside which the runs lie.
        ranks: of each cluster.
        batch: windows of a rank.

    Raises:
        ImportError: moto or boto3 is not installed.
        RuntimeError: a run failed.
    """
    found: dict[str, Any] = {
        "ranks": ranks,
        "units": units,
        "precision": precision,
        "batch": batch,
        "every": EVERY,
        "round_every": ROUND_EVERY,
        "epochs": epochs,
        "ways": {},
    }
    with s3_server() as endpoint:
        for way, overlap in WAYS.items():
            processes = []
            for number, name in enumerate(NAMES):
                text = CONFIG.format(
                    store=store,
                    shard=f"{number + 1}/2",
                    units=units,
                    precision=precision,
                    batch=batch,
                    epochs=epochs,
                    every=EVERY,
                )
                if overlap is not None:
                    text += SYNC.format(
                        bucket=BUCKET,
                        way=way,
                        endpoint=endpoint,
                        name=name,
                        every=ROUND_EVERY,
                        overlap=overlap,
                    )
                config = store.parent / f"{way}-{name}.toml"
                config.write_text(text)
                command = [*mpiexec, "-n", str(ranks), sys.executable, "-m", "hpc_lstm", "train", str(config)]
                command += ["--run-dir", str(store.parent / f"{way}-{name}")]
                processes.append(
                    _start(command, _gpus(number, ranks) if gpu else {}, config.with_suffix(".log"))
                )
            _wait(processes)
            found["ways"][way] = [summary(store.parent / f"{way}-{name}", ranks * batch) for name in NAMES]
    return found


def summary(run: Path, batch: int) -> dict[str, Any]:
    """A run from its first step to its last, by rank 0's timing: joining and the last round are not in it.

    Args:
        batch: windows of a step of all ranks.
    """
    metrics, timing = json.loads((run / "metrics.json").read_text()), load_timing(run)
    chunks = list(timing.spans(0))
    phase = np.concatenate([phases for phases, _ in chunks])
    start, end, busy, _, _ = np.concatenate([values for _, values in chunks], axis=1)
    steps = np.isin(phase, [PHASES.index(name) for name in ("preprocess", "compute")])
    steps &= start >= start[phase == PHASES.index("preprocess")].min()
    begin, last = start[steps].min(), end[phase == PHASES.index("preprocess")].max()
    inside = (phase == PHASES.index("sync")) & (start >= begin) & (end <= last)
    return {
        "steps": metrics["steps"],
        "seconds": float(last - begin) / 1e9,
        "samples_per_second": metrics["steps"] * batch / float(last - begin) * 1e9,
        "sync_share": float(busy[inside].sum() / (last - begin)),
        "validation_loss": metrics["best_validation_loss"],
        "sync": metrics.get("sync"),
    }


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a moto server with the bucket in it, until the end of the block."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would log every request
    server: Any = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    # S3 decides conditional writes in one step; moto looks first and then writes.
    server._server.app = _one_at_a_time(server._server.app)
    host, port = server.get_host_and_port()
    try:
        session = boto3.session.Session(
            CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1"
        )
        session.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket=BUCKET)
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def _one_at_a_time(application: Callable[..., Any]) -> Callable[..., Any]:
    lock = threading.Lock()

    def call(environ: Any, start_response: Any) -> Any:
        with lock:
            return application(environ, start_response)

    return call


def _gpus(cluster: int, ranks: int) -> dict[str, str]:
    """The GPUs of a cluster, out of those that this process may use."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(str(n) for n in range(2 * ranks))).split(",")
    return {"CUDA_VISIBLE_DEVICES": ",".join(given[cluster * ranks : (cluster + 1) * ranks])}


def _start(command: list[str], variables: dict[str, str], log: Path) -> tuple[subprocess.Popen[bytes], Path]:
    with log.open("wb") as output:
        environment = os.environ | CREDENTIALS | variables
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    return process, log


def _wait(processes: list[tuple[subprocess.Popen[bytes], Path]]) -> None:
    """Wait for all; none is left behind where one fails.

    Raises:
        RuntimeError: one failed, with the end of its output; or took too long.
    """
    try:
        for process, log in processes:
            try:
                ended = f"ended with {process.wait(LIMIT_S)}"
            except subprocess.TimeoutExpired:
                ended = f"did not end within {LIMIT_S:.0f} s"
            if process.returncode != 0:
                raise RuntimeError(f"a cluster {ended}:\n{log.read_text(errors='replace')[-1500:]}")
    finally:
        for process, _ in processes:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(ENDING_S)
                except subprocess.TimeoutExpired:
                    process.kill()
