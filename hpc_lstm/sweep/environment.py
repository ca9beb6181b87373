"""The machine and software that a run was measured on: versions, processors, GPUs, MPI library, network."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from hpc_lstm import __version__
from hpc_lstm.parallel import gpu as gpus
from hpc_lstm.parallel.launch import library_text
from hpc_lstm.parallel.world import World

PACKAGES = ("tensorflow", "keras", "numpy", "mpi4py", "h5py", "pycuda")
# Environment variables that override a communication library's choice of transport.
TRANSPORT_PREFIXES = ("UCX_", "FI_", "NCCL_", "OMPI_MCA_", "MPIR_CVAR_", "MPICH_", "I_MPI_", "PSM2_")
# Set by launchers for internal purposes: different in each run, and of no use to a reader.
BOOKKEEPING = (
    "OMPI_MCA_ess",
    "OMPI_MCA_orte",
    "OMPI_MCA_pmix",
    "OMPI_MCA_initial_wdir",
    "OMPI_MCA_mpi_oversub",
)


def describe_environment(world: World, threads: int) -> dict[str, Any]:
    """The machine and software of all ranks, the same on every rank; collective.

    Args:
        threads: CPU threads of a rank.
    """
    gpu = gpus.preview_gpu(world)
    here: dict[str, Any] = {
        "node": world.node,
        "processor": processor(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "gpu": "" if gpu is None else gpu.name,
        "gpu_uuid": "" if gpu is None else gpu.uuid or gpu.entry,
        "interfaces": interfaces(),
        "cores": physical_cores(),
    }
    places = world.allgather(here)
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
                # Of all ranks together: launchers may bind each to cores of its own.
                "cores": len(set().union(*(p["cores"] for p in places if p["node"] == node))),
                "interfaces": first[node]["interfaces"],
            }
            for node in nodes
        ],
        "ranks": [{key: place[key] for key in ("node", "gpu", "gpu_uuid")} for place in places],
    }


class OtherLoad:
    """Measures, from its construction on, the share of the ranks' CPUs that other programs take.

    CPUs of a node on which none of the ranks may run do not count.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._begin = _busy_seconds(), time.process_time(), time.monotonic()

    def share(self) -> float:
        """The share so far, 0 to 1, mean over the ranks' nodes; collective."""
        spent, own, at = self._begin
        took, passed = time.process_time() - own, max(time.monotonic() - at, 1e-9)
        here = (self._world.node, took, sorted(os.sched_getaffinity(0)))
        ranks = [rank for rank in self._world.allgather(here) if rank[0] == self._world.node]
        now = _busy_seconds()
        cpus = set().union(*(usable for _, _, usable in ranks)) & set(now) & set(spent) or set(now)
        work = sum(now[cpu] - spent.get(cpu, now[cpu]) for cpu in cpus)
        found = (work - sum(took for _, took, _ in ranks)) / (len(cpus) * passed)
        shares = self._world.allgather(min(1.0, max(0.0, found)))
        return sum(shares) / len(shares)


def _busy_seconds() -> dict[int, float]:
    """Seconds that each of the node's CPUs has been busy since boot."""
    import psutil

    times = psutil.cpu_times(percpu=True)
    idle = ("idle", "iowait", "guest", "guest_nice")  # guests' time is in the user's, too
    work = [sum(one) - sum(getattr(one, name, 0.0) for name in idle) for one in times]
    return dict(zip(_online(len(times)), work, strict=False))


def _online(count: int) -> list[int]:
    """Numbers of the CPUs that are on, as many as ``count``: numbers are left out where some are off."""
    try:
        ranges = Path("/sys/devices/system/cpu/online").read_text().strip().split(",")
        ends = [list(map(int, part.split("-"))) for part in ranges]
    except (OSError, ValueError):
        return list(range(count))
    online = [cpu for end in ends for cpu in range(end[0], end[-1] + 1)]
    return online if len(online) == count else list(range(count))


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


def physical_cores() -> list[str]:
    """Cores, not hardware threads, that this process may use, each by its hardware threads, such as "0,4"."""
    usable, cores = os.sched_getaffinity(0), set()
    for cpu in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(path.read_text().strip())
        except OSError:
            cores.add(str(cpu))
    return sorted(cores)


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


def processors_used(environment: dict[str, Any]) -> dict[str, Any]:
    """The processors that the ranks computed on, and whether they shared them.

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
