"""The engines by the name that ``train.engine`` gives them, and which one a run takes."""

from __future__ import annotations

import logging
import os
from os import PathLike

from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError
from hpc_lstm.model.engine import Engine, Forecaster
from hpc_lstm.parallel.world import World

log = logging.getLogger(__name__)


def choose(config: RunConfig, *, threads: int = 1, world: World | None = None) -> str:
    """The engine that ``config.train.engine`` names; "auto" takes the fastest that works on all ranks.

    Collective over the ranks of ``world``. The first rank of a node compiles for the others.

    Raises:
        InputError: the engine that is asked for cannot train this network, or not here; on all ranks.
    """
    from hpc_lstm.model.engines import native, tensorflow_runtime

    name = config.train.engine
    if name == "keras":
        return name

    def problem() -> str:
        tf = tensorflow_runtime.start(threads, config.train.deterministic)
        if name == "auto" and tf.config.list_physical_devices("GPU"):
            return "there is a GPU"
        return native.problem(config)

    if world is None:
        problems = [problem()]
    else:
        own = problem() if world.local_rank == 0 else None
        world.barrier()
        problems = world.allgather(problem() if own is None else own)
    found = next(filter(None, problems), "")
    if not found:
        return "fused"
    if name == "fused":
        error = InputError(f'train.engine: "fused": {found}; use "auto"')
        raise error if world is None else world.on_all_ranks(error)
    log.info("engine keras, not fused: %s", found)
    return "keras"


def create(config: RunConfig, *, rank: int = 0, threads: int = 1, name: str = "") -> Engine:
    """An engine.

    Args:
        rank: dropout differs between ranks; initial weights do not.
        threads: CPU threads of this rank.
        name: what ``choose`` found for all ranks; "": what it finds for this one.
    """
    threads = threads or len(os.sched_getaffinity(0))
    if (name or choose(config, threads=threads)) == "fused":
        from hpc_lstm.model.engines.native import FusedEngine

        return FusedEngine(config, rank=rank, threads=threads)
    from hpc_lstm.model.engines.keras import KerasEngine

    return KerasEngine(config, rank=rank, threads=threads)


def load(path: str | PathLike[str], *, threads: int = 1) -> Forecaster:
    """The trained network in a Keras file.

    Raises:
        InputError: the file is missing or damaged.
    """
    from hpc_lstm.model.engines.keras import SavedModel

    return SavedModel(path, threads=threads)
