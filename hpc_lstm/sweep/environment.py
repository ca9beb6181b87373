"""Where a run was measured: versions, processors, GPUs, MPI library and network, as facts beside each number."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from hpc_lstm import __version__
from hpc_lstm.world import World, library_text

PACKAGES = ("tensorflow", "keras", "numpy", "mpi4py", "h5py", "pycuda")
# How transports are chosen where a library's own choice is overruled.
TRANSPORT_PREFIXES = ("UCX_", "FI_", "NCCL_", "OMPI_MCA_", "MPIR_CVAR_", "MPICH_", "I_MPI_", "PSM2_")
# Set by launchers for their own book-keeping: different in each run, and of no meaning to a reader.
BOOKKEEPING = (
    "OMPI_MCA_ess",
    "OMPI_MCA_orte",
    "OMPI_MCA_pmix",
    "OMPI_MCA_initial_wdir",
    "OMPI_MCA_mpi_oversub",
)


def describe(world: World, threads: int) -> dict[str, Any]:
    """The machine and software of all ranks, the same on every rank; collective.

    Args:
        threads: CPU threads of a rank.
    """
    gpu = world.gpu
    here: dict[str, Any] = {
        "node": world.node,
        "processor": processor(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "gpu": "" if gpu is None else gpu.name,
        "gpu_uuid": "" if gpu is None else gpu.uuid or gpu.entry,
        "interfaces": interfaces(),
        "cores": physical_cores(),
    }
    places = world.gather(here)
    nodes = list(dict.fromkeys(place["node"] for place in places))
    first = {place["node"]: place for place in reversed(places)}
    return {
        "versions": versions(),
        "system": platform.platform(),
        "mpi": library_text(),
        "transport": transport(len(nodes), world.size),
        "threads": threads,
        "nodes": [
            {
                "node": node,
                "processor": first[node]["processor"],
                "cpus": len(set().union(*(p["cpus"] for p in places if p["node"] == node))),
                "cores": max(p["cores"] for p in places if p["node"] == node),
                "interfaces": first[node]["interfaces"],
            }
            for node in nodes
        ],
        "ranks": [{key: place[key] for key in ("node", "gpu", "gpu_uuid")} for place in places],
    }


class OtherLoad:
    """Watches, from its making on, how much of the nodes' cores programs other than these ranks take."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._begin = self._now()

    def share(self) -> float:
        """The mean over ranks' nodes so far, 0 to 1; collective."""
        spent, own, at = (now - then for now, then in zip(self._now(), self._begin, strict=True))
        mine = [
            took for node, took in self._world.gather((self._world.node, own)) if node == self._world.node
        ]
        found = (spent - sum(mine)) / ((os.cpu_count() or 1) * max(at, 1e-9))
        shares = self._world.gather(min(1.0, max(0.0, found)))
        return sum(shares) / len(shares)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Seconds of work of all of the node's processors, and of this process; the time."""
        import psutil

        times = psutil.cpu_times()
        spent = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        return spent - getattr(times, "guest_nice", 0.0), time.process_time(), time.monotonic()


def versions() -> dict[str, str]:
    """Versions of Python, this program and what it computes with; packages that are missing are left out."""
    found = {"python": platform.python_version(), "hpc-lstm": __version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def physical_cores() -> int:
    """Cores, not hardware threads, that this process may use."""
    usable, cores = os.sched_getaffinity(0), set()
    for cpu in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(path.read_text().strip())
        except OSError:
            cores.add(str(cpu))
    return len(cores)


def interfaces() -> list[str]:
    """Network interfaces that are up, with their speed in Mbit/s where the driver tells, and InfiniBand's devices."""
    import psutil

    found = []
    for name, state in sorted(psutil.net_if_stats().items()):
        if state.isup and name != "lo":
            found.append(name + (f" {state.speed} Mbit/s" if state.speed else ""))
    for port in sorted(Path("/sys/class/infiniband").glob("*/ports/*/rate")):
        try:
            found.append(f"{port.parts[4]} port {port.parts[6]} {port.read_text().strip()}")
        except OSError:
            continue
    return found


def transport(nodes: int, ranks: int) -> str:
    """How the ranks reach each other: within a node or between nodes, what MPI was built on, and settings of it."""
    if ranks == 1:
        return "one rank"
    place = "within one node" if nodes == 1 else f"between {nodes} nodes"
    device = next(
        (line.split(":", 1)[1].strip() for line in library_text().split("; ") if "Device:" in line), ""
    )
    chosen = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith(TRANSPORT_PREFIXES) and not name.startswith(BOOKKEEPING)
    ]
    return ", ".join([place, *([f"MPI device {device}"] if device else []), *chosen])


def placement(environment: dict[str, Any]) -> dict[str, Any]:
    """What the ranks computed on and whether they shared it.

    ``kind`` is "cores", or "gpus" where every rank had one; ``used``, how many; ``shared``, whether there were fewer
    than the ranks could use; ``nodes``, on how many. Hardware threads of one core count as one: two ranks on them
    share it.
    """
    ranks, nodes = environment["ranks"], environment["nodes"]
    if all(rank["gpu_uuid"] for rank in ranks):
        gpus = {(rank["node"], rank["gpu_uuid"]) for rank in ranks}
        return {"kind": "gpus", "used": len(gpus), "shared": len(gpus) < len(ranks), "nodes": len(nodes)}
    used, shared = 0, False
    for node in nodes:
        wanted = environment["threads"] * sum(rank["node"] == node["node"] for rank in ranks)
        used += min(wanted, node["cores"])
        shared |= wanted > node["cores"]
    return {"kind": "cores", "used": used, "shared": shared, "nodes": len(nodes)}
