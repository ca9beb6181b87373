"""What this machine has for a run, what is missing, and what to install for it.

Fast: packages are looked up, not imported. Only where the NVIDIA driver sees a GPU are TensorFlow and PyCUDA
started, each in a process of its own, to find out whether they see it too.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from hpc_lstm.config import RunConfig
from hpc_lstm.jobs.checks import computing, configured, machine, mpi, packages
from hpc_lstm.jobs.checks.result import Check
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.world import World

MARKS = {"ok": "ok", "missing": "--", "failed": "FAILED", "info": "  "}


@dataclass(frozen=True)
class Diagnosis:
    """All checks; the same on every rank."""

    checks: list[Check]

    @property
    def failed(self) -> bool:
        """Something that was configured does not work."""
        return any(check.status == "failed" for check in self.checks)

    def text(self, columns: int | None = None) -> str:
        """A line for each check, with the advice below it where there is any.

        Args:
            columns: where lines are broken; None: nowhere.
        """
        width = max(len(check.name) for check in self.checks)
        lines: list[str] = []
        for check in self.checks:
            lines += _hanging(f"{MARKS[check.status]:>6}  {check.name:<{width}}  ", check.found, columns)
            if check.advice:
                lines += _hanging(f"{'':>6}  {'':<{width}}  -> ", check.advice, columns)
        return "\n".join(lines)


def _hanging(start: str, text: str, columns: int | None) -> list[str]:
    """``text`` after ``start``, and below itself where it is broken."""
    if columns is None or len(start) + len(text) <= columns:
        return [start + text]
    room = max(10, columns - len(start))
    first, *more = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return [start + first, *(" " * len(start) + line for line in more)]


def diagnose(config: RunConfig | None, world: World) -> Diagnosis:
    """Check this machine and, with a config, what it names; collective over all ranks.

    Rank 0 checks the machine; every rank reports its node and GPU, and whether it can read the market store.
    Only what was configured and does not work counts as failed.
    """
    ranks = world.allgather((world.node, world.threads))
    gpu_of_each = world.allgather(gpu.preview_gpu(world))
    checks: list[Check] = []
    if world.rank == 0:
        gpus = computing.check_gpus()
        checks = [
            machine.check_python(),
            mpi.check_mpi(world),
            mpi.check_launcher(),
            *mpi.check_slurm(),
            mpi.check_ranks(ranks),
            *machine.check_machine(),
            computing.check_tensorflow(gpus),
            *computing.check_c_kernels(),
            gpus.check,
            *computing.check_gpu_of_ranks(gpu_of_each),
            *computing.check_cuda(gpus),
            *packages.check_extras(),
        ]
    if config is not None:
        problems = world.allgather(configured.store_problem(config))
        if world.rank == 0:
            checks += [configured.check_store(config, problems), configured.check_storage(config)]
    return Diagnosis(world.bcast(checks))
