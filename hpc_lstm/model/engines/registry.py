"""The engines, and which one a run takes.

A new engine is a file beside this one and its class in ``ENGINES``. Several may share a name in ``train.engine``:
"fused" is the CUDA engine where it works, else the C engine, else the same in NumPy.
"""

from __future__ import annotations

import logging
import os
from os import PathLike

from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError
from hpc_lstm.model.engine import Engine, Forecaster
from hpc_lstm.model.engines.cuda import CudaEngine
from hpc_lstm.model.engines.keras import KerasEngine
from hpc_lstm.model.engines.native import NativeEngine, NativeForecaster
from hpc_lstm.model.engines.numpy import NumpyEngine, NumpyForecaster
from hpc_lstm.model.keras_file import read_keras_file
from hpc_lstm.native.compiler import NoCompiler
from hpc_lstm.parallel.world import World

log = logging.getLogger(__name__)

# In order of preference. The types are checked here: each class is an ``Engine``.
ENGINES: tuple[type[Engine], ...] = (
    CudaEngine,
    NativeEngine,
    KerasEngine,
    NumpyEngine,
)
AUTO = "auto"


def names() -> tuple[str, ...]:
    """What ``train.engine`` may say."""
    return (AUTO, *dict.fromkeys(engine.name for engine in ENGINES))


def choose_engine(config: RunConfig, *, threads: int = 1, world: World | None = None) -> type[Engine]:
    """The first engine of the name in ``config.train.engine``, or of any with "auto", that works on all ranks.

    Collective over the ranks of ``world``.

    Raises:
        InputError: no such engine can train this network on these machines; on all ranks.
    """
    wanted = config.train.engine
    auto = wanted == AUTO
    problems: dict[str, list[str]] = {}
    for engine in ENGINES:
        if not auto and engine.name != wanted:
            continue
        problem = _problem_on_any_rank(engine, config, threads, auto, world)
        if not problem:
            _log_choice(engine, problems)
            return engine
        known = problems.setdefault(engine.name, [])
        if problem not in known:
            known.append(problem)
    found = "; ".join(f'"{name}": {"; ".join(why)}' for name, why in problems.items())
    error = InputError(f"train.engine: {found}" + ("" if auto else f'; use "{AUTO}"'))
    raise error if world is None else world.on_all_ranks(error)


def create_engine(config: RunConfig, *, rank: int = 0, threads: int = 1) -> Engine:
    """The engine that ``choose_engine`` finds for this process alone.

    Args:
        rank: dropout differs between ranks; initial weights do not.
        threads: CPU threads of this rank; 0: all that this process may use.
    """
    threads = threads or len(os.sched_getaffinity(0))
    return choose_engine(config, threads=threads)(config, rank=rank, threads=threads)


def load_forecaster(path: str | PathLike[str], *, threads: int = 1) -> Forecaster:
    """The trained network in a Keras file, to forecast on CPUs.

    Raises:
        InputError: the file is missing, damaged or holds another kind of network.
    """
    network = read_keras_file(path)
    try:
        return NativeForecaster(network, threads=threads)
    except NoCompiler as error:
        log.warning("%s: forecasts are computed by NumPy, which is slow", error)
        return NumpyForecaster(network, threads=threads)


def _log_choice(engine: type[Engine], problems: dict[str, list[str]]) -> None:
    """Say why engines that are preferred to this one are not taken."""
    if engine is NumpyEngine:
        log.warning("engine fused by NumPy, which is slow: %s", "; ".join(problems[engine.name]))
    for name, why in problems.items():
        if name != engine.name:
            log.info("engine %s, not %s: %s", engine.name, name, "; ".join(why))


def _problem_on_any_rank(
    engine: type[Engine], config: RunConfig, threads: int, auto: bool, world: World | None
) -> str:
    """Why an engine cannot be used on some rank, the lowest such, or ""."""
    if world is None:
        return engine.problem(config, threads=threads, auto=auto)
    # The first rank of a node compiles for the others, which then take what it has put into the cache.
    own = engine.problem(config, threads=threads, auto=auto) if world.local_rank == 0 else None
    world.barrier()
    found = world.allgather(engine.problem(config, threads=threads, auto=auto) if own is None else own)
    return next(filter(None, found), "")
