"""Joining the ranks that a launcher started, and what the launcher says before MPI is there."""

from __future__ import annotations

import os
import resource
import sys
import warnings

from hpc_lstm.errors import InputError
from hpc_lstm.hdf5.reading import OF_LAUNCHERS
from hpc_lstm.parallel.mpi_start import ended_by_signals, loading_mpi, start_mpi_unlocked
from hpc_lstm.parallel.stop_signals import StopSignals
from hpc_lstm.parallel.world import World

# Bytes of the largest file that MPICH 5 with UCX makes in shared memory as it starts, on up to four ranks of a node.
SHARED_MEMORY = 4_292_720
# What the environment variables begin with by which a user chooses how MPI sends.
TRANSPORTS = ("UCX_TLS", "MPIR_CVAR_", "FI_", "OMPI_MCA_")
# Environment variables in which launchers pass the number of ranks.
LAUNCHER_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


def connect(threads: int = 0, signals: StopSignals | None = None) -> World:
    """Join the ranks that ``mpiexec``, ``mpirun`` or ``srun`` started; a world of one rank if nothing did.

    Args:
        threads: CPU threads of this rank; 0: what ``OMP_NUM_THREADS`` says, else the cores that Slurm gives to each
            rank (``SLURM_CPUS_PER_TASK``), else the usable cores of the node divided by its ranks.
        signals: what this process was asked to stop by until now; None: it did not listen.

    Raises:
        InputError: the launcher started several ranks but MPI sees one (two different MPI installations),
            or MPI cannot be loaded; or the limit on the size of files leaves MPI no shared memory.
    """
    _require_file_size()
    expected = _launched_size()
    signals = signals or StopSignals()
    node = os.uname().nodename
    try:
        import mpi4py

        mpi4py.rc.thread_level = "funneled"
        with warnings.catch_warnings(), loading_mpi(on_one_node=_on_one_node()):
            warnings.simplefilter("ignore")  # mpi4py guesses at a wrong launcher; that is checked below
            if expected > 1 and signals.listening:
                with ended_by_signals():
                    start_mpi_unlocked()
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        if expected > 1:
            raise InputError(
                f"started as one of {expected} ranks, but MPI cannot be loaded ({_first_line(error)}); "
                'install "hpc-lstm[mpich]", or load the MPI that the launcher belongs to'
            ) from None
        return _alone(threads, signals)
    comm = MPI.COMM_WORLD
    if comm.size == 1 and expected > 1:
        raise InputError(
            f"started as one of {expected} ranks, but MPI sees only one: the launcher belongs to another MPI "
            f"than {_first_line(MPI.Get_library_version())}; use that MPI's mpiexec, srun --mpi=pmi2, or see "
            "docs/mpi.md"
        )
    local = comm.Split_type(MPI.COMM_TYPE_SHARED)
    cores = set().union(*local.allgather(os.sched_getaffinity(0)))
    own = len(os.sched_getaffinity(0))
    oversubscribed = comm.allreduce(local.size > len(cores), op=MPI.LOR)
    world = World(
        rank=comm.rank,
        size=comm.size,
        local_rank=local.rank,
        local_size=local.size,
        node=node,
        threads=threads or _omp_threads() or max(1, min(own, _slurm_cores() or len(cores) // local.size)),
        library=_first_line(MPI.Get_library_version()),
        oversubscribed=oversubscribed,
        signals=signals,
        _comm=comm if comm.size > 1 else None,
    )
    local.Free()
    return world


def connect_if_launched(threads: int = 0) -> World:
    """As ``connect``, but without MPI where no launcher has left its variables: to load and start it takes a while.

    For commands that end with the same whatever the number of ranks: under a launcher that is not known here, each rank
    does all of it.
    """
    if _under_launcher():
        return connect(threads)
    return _alone(threads, StopSignals())


def library_text() -> str:
    """The MPI library's version and build, all lines joined by "; "; "no MPI" without one."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        return "no MPI"
    lines = MPI.Get_library_version().replace("\0", "").splitlines()
    return "; ".join(" ".join(line.split()) for line in lines if line.strip())


def launched() -> bool:
    """True in a process that ``mpiexec``, ``mpirun`` or ``srun`` started as one of several ranks."""
    return _launched_size() > 1


def _require_file_size() -> None:
    """Refuse a limit on the size of files by which MPI, as it starts, would end the process with an error of its own.

    Raises:
        InputError: the limit.
    """
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if any(name.startswith(TRANSPORTS) for name in os.environ):  # by which it may need less
        return
    if "mpi4py.MPI" not in sys.modules and limit != resource.RLIM_INFINITY and limit < SHARED_MEMORY:
        raise InputError(
            f"files of this process may have {limit:,} bytes (ulimit -f), and MPI's shared memory needs "
            f"{SHARED_MEMORY:,}; raise the limit"
        )


def _under_launcher() -> bool:
    """Whether a launcher, or a batch job around it, has left its variables."""
    return any(name.startswith(OF_LAUNCHERS) for name in os.environ)


def _on_one_node() -> bool:
    """Whether all ranks are known to be on this node, and to send to each other as MPI itself chooses."""
    if not _under_launcher():
        return True
    # Hydra, the launcher of MPICH, tells how many of its ranks are here.
    here = os.environ.get("MPI_LOCALNRANKS", "0")
    return here == os.environ.get("PMI_SIZE") and not any(name.startswith(TRANSPORTS) for name in os.environ)


def _alone(threads: int, signals: StopSignals) -> World:
    own = len(os.sched_getaffinity(0))
    threads = threads or _omp_threads() or min(own, _slurm_cores() or own)
    return World(node=os.uname().nodename, threads=threads, signals=signals)


def _omp_threads() -> int:
    """``OMP_NUM_THREADS``, of a list the first, at most as many as this process has cores; 0 where it says nothing."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), len(os.sched_getaffinity(0))) if first.isascii() and first.isdigit() else 0


def _launched_size() -> int:
    """Number of ranks that the launcher started; 1 without a launcher."""
    for name in LAUNCHER_SIZES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 1


def _slurm_cores() -> int:
    """Cores that Slurm gives to each rank; 0 if the job does not set a number."""
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return int(asked) if asked.isdigit() else 0


def _first_line(text: object) -> str:
    lines = str(text).replace("\0", "").strip().splitlines() or [""]  # Open MPI's version ends with a null
    return " ".join(lines[0].split())
