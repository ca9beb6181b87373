"""What this machine offers, what is missing, and what to install for it.

Fast: packages are looked up, not imported. Only where the NVIDIA driver sees a GPU are TensorFlow and PyCUDA
started, each in a process of its own, to say whether they see it too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from hpc_lstm import __version__
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import CudaError, InputError, from_os_error
from hpc_lstm.jobs import launcher
from hpc_lstm.native.loaded_libraries import loaded_mpi_library
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.world import LAUNCHER_SIZES, World

Status = Literal["ok", "missing", "failed", "info"]
# Packages behind each extra, and what they are for.
EXTRAS = {
    "s3": (("boto3",), "checkpoints on S3"),
    "yahoo": (("yfinance",), "`hpc-lstm fetch`"),
    "report": (("matplotlib", "scipy"), "plots, the HTML report and scaling sweeps"),
}
MARKS = {"ok": "ok", "missing": "--", "failed": "FAILED", "info": "  "}
# Importing TensorFlow from a cold network file system can take this long.
PROBE_TIMEOUT_S = 120
# How long a bucket may take to answer here, whatever the run allows it.
STORAGE_TIMEOUT_S = 15.0
_TENSORFLOW_PROBE = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
_BACKEND_PROBE = "from hpc_lstm.cuda.availability import cuda_problem; print(cuda_problem() or '')"
_PYCUDA_PROBE = "import pycuda.driver as d; d.init(); print(d.Device.count())"


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        status: "ok"; "missing": not there, and needed only for what ``advice`` says; "failed": configured,
            and does not work; "info".
        found: what there is, one line.
        advice: what to do about it, or "".
    """

    name: str
    status: Status
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All checks; the same on every rank."""

    checks: list[Check]

    @property
    def failed(self) -> bool:
        """Something that was configured does not work."""
        return any(check.status == "failed" for check in self.checks)

    def text(self) -> str:
        """A line a check, with what to do below those that need it."""
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{MARKS[check.status]:>6}  {check.name:<{width}}  {check.found}")
            if check.advice:
                lines.append(f"{'':>6}  {'':<{width}}  -> {check.advice}")
        return "\n".join(lines)


def diagnose(config: RunConfig | None, world: World) -> Diagnosis:
    """Look at this machine and, with a config, at what it names; collective over all ranks.

    Rank 0 looks at the machine; every rank says where it runs and whether it can read the market store.
    Nothing is an error except what was configured and does not work.
    """
    places = world.allgather((world.node, world.threads))
    takes = world.allgather(gpu.preview_gpu(world))
    checks: list[Check] = []
    if world.rank == 0:
        checks = [_python(), _mpi(world), _launcher(), *_slurm(), *_ranks(places), *_machine()]
        gpus = _gpus()
        checks += [
            *_tensorflow(gpus),
            _c_compiler(),
            gpus.check,
            *_gpu_of_ranks(takes),
            *_cuda(gpus),
            *_extras(),
        ]
    if config is not None:
        problems = world.allgather(_store_problem(config))
        if world.rank == 0:
            checks += [_store(config, problems, world), _storage(config)]
    return Diagnosis(world.bcast(checks))


# -- the program and its launcher ------------------------------------------------------------------


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", "ok", f"{version} ({sys.executable}), hpc-lstm {__version__}")


def _mpi(world: World) -> Check:
    advice = 'for several ranks: pip install "hpc-lstm[mpich]", or load a system MPI and pip install mpi4py'
    binding = _version("mpi4py")
    if binding is None:
        return Check("MPI", "missing", "mpi4py is not installed", advice)
    if world.library == "no MPI":
        return Check("MPI", "missing", f"mpi4py {binding}, but no MPI library can be loaded", advice)
    path = loaded_mpi_library()
    origin = "" if path is None else f" from {path} ({'this environment' if _inside(path) else 'the system'})"
    return Check("MPI", "ok", f"{world.library}{origin}, mpi4py {binding}")


def _launcher() -> Check:
    found = [path for name in ("mpiexec", "srun") if (path := shutil.which(name))]
    started = next((name for name in LAUNCHER_SIZES if os.environ.get(name)), None)
    if not found:
        return Check(
            "launcher",
            "missing",
            "neither mpiexec nor srun",
            'pip install "hpc-lstm[mpich]", or load a system MPI',
        )
    library = loaded_mpi_library()
    mpiexec = shutil.which("mpiexec")
    mixed = library is not None and mpiexec is not None and _inside(library) != _inside(Path(mpiexec))
    advice = (
        "mpiexec and the MPI library come from different places: ranks may not find each other"
        if mixed
        else ""
    )
    how = f", {started} is set: started by a launcher" if started else ""
    return Check("launcher", "info" if mixed else "ok", ", ".join(found) + how, advice)


def _slurm() -> list[Check]:
    """How the batch scripts would start ranks, where there is a Slurm."""
    if shutil.which("srun") is None:
        return []
    try:
        words = launcher.find(tried=False)
    except InputError as error:
        return [Check("Slurm", "info", str(error), "see docs/slurm.md")]
    return [Check("Slurm", "ok", f"batch scripts start ranks by {' '.join(words)}")]


def _ranks(places: list[tuple[str, int]]) -> list[Check]:
    nodes = dict.fromkeys(node for node, _ in places)
    threads = sorted({threads for _, threads in places})
    each = str(threads[0]) if len(threads) == 1 else f"{threads[0]} to {threads[-1]}"
    shown = ", ".join(list(nodes)[:4]) + (", ..." if len(nodes) > 4 else "")
    advice = "" if len(places) > 1 else "to see more: mpiexec -n 2 hpc-lstm doctor"
    text = (
        f"{_count(len(places), 'rank')} on {_count(len(nodes), 'node')} ({shown}), CPU threads a rank: {each}"
    )
    return [Check("ranks", "ok", text, advice)]


def _machine() -> list[Check]:
    import psutil

    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0))
    disk = shutil.disk_usage(Path.cwd())
    writable = os.access(Path.cwd(), os.W_OK)
    advice = "" if writable else "choose a --run-dir that you may write to"
    return [
        Check("cores", "ok", f"{cores} of {os.cpu_count()} usable by this process"),
        Check("memory", "ok", f"{_gib(memory.available)} free of {_gib(memory.total)}"),
        Check(
            "disk",
            "ok" if writable else "info",
            f"{_gib(disk.free)} free of {_gib(disk.total)} at {Path.cwd()}"
            + ("" if writable else ", not writable"),
            advice,
        ),
    ]


# -- computing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Gpus:
    number: int
    check: Check


def _gpus() -> _Gpus:
    """What the NVIDIA driver sees."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        driver = Path("/proc/driver/nvidia/version").exists()
        found = "a driver, but no nvidia-smi" if driver else "no NVIDIA driver"
        return _Gpus(
            int(driver), Check("GPU", "missing", found, "for training on GPUs: an NVIDIA GPU and its driver")
        )
    output, problem = _run(
        [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"], 20
    )
    names = [line.strip() for line in output.splitlines() if line.strip()]
    if problem or not names:
        return _Gpus(
            0,
            Check("GPU", "missing", f"nvidia-smi: {problem or 'no GPU'}", "is the driver loaded? see dmesg"),
        )
    return _Gpus(len(names), Check("GPU", "ok", f"{len(names)}: {'; '.join(dict.fromkeys(names))}"))


def _tensorflow(gpus: _Gpus) -> list[Check]:
    version = _version("tensorflow") or _version("tensorflow-cpu")
    if version is None:
        return [Check("TensorFlow", "missing", "not installed", "for training: pip install hpc-lstm")]
    found = f"{version}, Keras {_version('keras') or 'not installed'}"
    if gpus.number == 0:
        return [Check("TensorFlow", "ok", f"{found}; computes on the CPU")]
    output, problem = _run([sys.executable, "-c", _TENSORFLOW_PROBE], PROBE_TIMEOUT_S)
    seen = _last_number(output)
    if problem or seen is None:
        return [
            Check(
                "TensorFlow",
                "info",
                f"{found}; cannot be started: {problem}",
                "pip install --force-reinstall tensorflow",
            )
        ]
    if seen == 0:
        advice = 'pip install "tensorflow[and-cuda]" brings the CUDA libraries it needs'
        return [Check("TensorFlow", "info", f"{found}; sees none of the {gpus.number} GPUs", advice)]
    return [Check("TensorFlow", "ok", f"{found}; sees {_count(seen, 'GPU')}")]


def _c_compiler() -> Check:
    """What compiles the fused engine."""
    from hpc_lstm.native import compiler as native

    try:
        return Check("C compiler", "ok", native.compiler().version)
    except native.NoCompiler as error:
        return Check("C compiler", "missing", str(error), 'for train.engine = "fused", the fastest on CPUs')


def _cuda(gpus: _Gpus) -> list[Check]:
    version, advice = _version("pycuda"), 'for CUDA kernels: pip install "hpc-lstm[gpu]"'
    if version is None:
        pycuda = Check("PyCUDA", "missing", "not installed", advice)
    elif gpus.number == 0:
        pycuda = Check("PyCUDA", "info", f"{version}; no GPU to use it on")
    else:
        output, problem = _run([sys.executable, "-c", _PYCUDA_PROBE], PROBE_TIMEOUT_S)
        seen = _last_number(output)
        if problem or seen is None:
            pycuda = Check(
                "PyCUDA",
                "info",
                f"{version}; cannot be started: {problem}",
                "pip install --force-reinstall pycuda",
            )
        else:
            pycuda = Check("PyCUDA", "ok", f"{version}; sees {_count(seen, 'GPU')}")
    return [pycuda, _compiler(), _backend()]


def _compiler() -> Check:
    """What compiles the CUDA kernels."""
    from hpc_lstm.cuda import compiler

    try:
        ignored = compiler.ignored_setting()
        found = compiler.compiler_version()
        return Check("kernel compiler", "ok", f"{found}; {ignored}" if ignored else found)
    except CudaError as error:
        return Check("kernel compiler", "missing", "NVRTC not found", f"to use CUDA kernels: {error}")


def _backend() -> Check:
    """What ``train.backend = "auto"`` takes here, found out in a process of its own, since it starts CUDA."""
    output, problem = _run([sys.executable, "-c", _BACKEND_PROBE], PROBE_TIMEOUT_S)
    reason = problem or output.strip()
    if not reason:
        return Check("backend", "ok", 'train.backend = "auto" takes cuda')
    return Check("backend", "info", f'train.backend = "auto" takes host: {reason}')


def _gpu_of_ranks(takes: list[gpu.Gpu | None]) -> list[Check]:
    """Which GPU each rank would take."""
    if not any(takes):
        return []
    each = [f"rank {rank}: {one.describe() if one else 'none'}" for rank, one in enumerate(takes[:4])]
    more = f"; {len(takes) - 4} more" if len(takes) > 4 else ""
    return [Check("GPU of a rank", "ok", "; ".join(each) + more)]


def _extras() -> list[Check]:
    checks = []
    for extra, (packages, purpose) in EXTRAS.items():
        found = {package: _version(package) for package in packages}
        text = ", ".join(f"{package} {version or 'not installed'}" for package, version in found.items())
        if all(found.values()):
            checks.append(Check(f"[{extra}]", "ok", text))
        else:
            checks.append(
                Check(f"[{extra}]", "missing", text, f'for {purpose}: pip install "hpc-lstm[{extra}]"')
            )
    return checks


# -- what the config names -------------------------------------------------------------------------


def _store_problem(config: RunConfig) -> str | None:
    from hpc_lstm.market.store import MarketStore

    def look() -> None:
        with MarketStore(config.data.store):
            pass

    return _problem(look)


def _store(config: RunConfig, problems: list[str | None], world: World) -> Check:
    from hpc_lstm.market.store import MarketStore

    broken = [rank for rank, problem in enumerate(problems) if problem is not None]
    if broken:
        where = (
            ""
            if len(broken) == world.size
            else f" (on {_count(len(broken), 'rank')}, the first is rank {broken[0]})"
        )
        advice = "give a store that every node can read; `hpc-lstm import` makes one"
        return Check("market store", "failed", f"{problems[broken[0]]}{where}", advice)
    with MarketStore(config.data.store) as store:
        rows = int(store.offsets[-1])
        size = f"{_count(len(store.symbols), 'symbol')}, {_count(rows, 'row')}"
        text = f"{config.data.store}: {size}, {', '.join(store.columns)}"
    return Check("market store", "ok", text)


def _storage(config: RunConfig) -> Check:
    if not config.storage.url:
        return Check("storage", "ok", "checkpoints go to the run directory")
    from hpc_lstm.storage.stores import open_store

    short = min(STORAGE_TIMEOUT_S, config.storage.timeout_s)
    settings = config.storage.model_copy(update={"timeout_s": short})
    problem = _problem(lambda: open_store(settings, Path.cwd()).check())
    if problem is not None:
        return Check("storage", "failed", problem, "see [storage] in docs/configuration.md")
    return Check("storage", "ok", f"{config.storage.url} can be reached")


def _problem(look: Callable[[], object]) -> str | None:
    """The user's error that ``look`` ends with, if any, as one line."""
    try:
        look()
    except InputError as error:
        return " ".join(str(error).split())
    except OSError as error:
        return str(from_os_error(error) or error)
    return None


# -- small helpers ---------------------------------------------------------------------------------


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _inside(path: Path) -> bool:
    """True of a file of this Python environment."""
    return any(
        Path(prefix) in path.absolute().parents for prefix in (sys.prefix, os.path.realpath(sys.prefix))
    )


def _run(command: list[str], timeout_s: float) -> tuple[str, str | None]:
    """A command's output, and what went wrong or None."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment)
    except subprocess.TimeoutExpired:
        return "", f"no answer in {timeout_s:g} s"
    except OSError as error:
        return "", str(error.strerror or error)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return done.stdout, lines[-1] if lines else f"exit code {done.returncode}"
    return done.stdout, None


def _last_number(output: str) -> int | None:
    lines = output.split()
    return int(lines[-1]) if lines and lines[-1].isdigit() else None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
