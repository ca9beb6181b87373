"""The engines, and which one a run takes.

A new engine is a file beside this one, a function that imports its class, and a line in ``ENGINES``. Several may share
a name in ``train.engine``: "fused" is the CUDA engine where it works, else the C engine, else the same in NumPy.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple

from hpc_lstm.errors import InputError

if TYPE_CHECKING:
    from hpc_lstm.config import RunConfig
    from hpc_lstm.model.engine import Engine, Forecaster
    from hpc_lstm.parallel.world import World

log = logging.getLogger(__name__)


def _cuda() -> type[Engine]:
    from hpc_lstm.model.engines.cuda.engine import CudaEngine

    return CudaEngine


def _native() -> type[Engine]:
    from hpc_lstm.model.engines.native import NativeEngine

    return NativeEngine


def _keras() -> type[Engine]:
    from hpc_lstm.model.engines.keras import KerasEngine

    return KerasEngine


def _numpy() -> type[Engine]:
    from hpc_lstm.model.engines.numpy import NumpyEngine

    return NumpyEngine


class EngineEntry(NamedTuple):
    """An engine that is not imported before it is asked for.

    Attributes:
        name: in ``train.engine``.
        load: imports its class.
        on_gpu: it computes on a GPU alone, and is not imported where there is none.
        slow: a last resort, of which the log warns.
        stage: of a run's start, in which is found out whether it works.
    """

    name: str
    load: Callable[[], type[Engine]]
    on_gpu: bool = False
    slow: bool = False
    stage: str = "opening the device"

    def problem(self, config: RunConfig, *, threads: int, auto: bool) -> str:
        """See ``Engine.problem``."""
        from hpc_lstm.parallel.gpu_discovery import installed_gpus

        if self.on_gpu and not installed_gpus():
            return "no GPU"
        return self.load().problem(config, threads=threads, auto=auto)


# In order of preference.
ENGINES: tuple[EngineEntry, ...] = (
    EngineEntry("fused", _cuda, on_gpu=True),
    EngineEntry("fused", _native, stage="compiling kernels"),
    EngineEntry("keras", _keras),
    EngineEntry("fused", _numpy, slow=True),
)
AUTO = "auto"


def names() -> tuple[str, ...]:
    """What ``train.engine`` may say."""
    return (AUTO, *dict.fromkeys(engine.name for engine in ENGINES))


def choose_engine(
    config: RunConfig,
    *,
    threads: int = 1,
    world: World | None = None,
    begin: Callable[[str], None] = lambda stage: None,
) -> type[Engine]:
    """The first engine of the name in ``config.train.engine``, or of any with "auto", that works on all ranks.

    Collective over the ranks of ``world``.

    Args:
        begin: takes the name of each stage.

    Raises:
        InputError: no such engine can train this network on these machines; on all ranks.
    """
    wanted = config.train.engine
    auto = wanted == AUTO
    problems: dict[str, list[str]] = {}
    for engine in ENGINES:
        if not auto and engine.name != wanted:
            continue
        begin(engine.stage)
        problem = _problem_on_any_rank(engine, config, threads, auto, world)
        if not problem:
            _log_choice(engine, problems)
            return engine.load()
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
    from hpc_lstm.model.engines.native import NativeForecaster
    from hpc_lstm.model.keras_file import read_keras_file
    from hpc_lstm.native.compiler import NoCompiler

    network = read_keras_file(path)
    try:
        return NativeForecaster(network, threads=threads)
    except NoCompiler as error:
        from hpc_lstm.model.engines.numpy import NumpyForecaster

        log.warning("%s: forecasts are computed by NumPy, which is slow", error)
        return NumpyForecaster(network, threads=threads)


def _log_choice(engine: EngineEntry, problems: dict[str, list[str]]) -> None:
    """Say why engines that are preferred to this one are not taken."""
    if engine.slow:
        log.warning("engine fused by NumPy, which is slow: %s", "; ".join(problems[engine.name]))
    for name, why in problems.items():
        if name != engine.name:
            log.info("engine %s, not %s: %s", engine.name, name, "; ".join(why))


def _problem_on_any_rank(
    engine: EngineEntry, config: RunConfig, threads: int, auto: bool, world: World | None
) -> str:
    """Why an engine cannot be used on some rank, the lowest such, or ""."""
    if world is None:
        return engine.problem(config, threads=threads, auto=auto)
    # The first rank of a node compiles for the others, which then take what it has put into the cache.
    own = engine.problem(config, threads=threads, auto=auto) if world.local_rank == 0 else None
    world.barrier()
    found = world.allgather(engine.problem(config, threads=threads, auto=auto) if own is None else own)
    return next(filter(None, found), "")
