"""What this machine has for a run, what is missing, and what to install for it.

Fast: packages are looked up, not imported. Only where the NVIDIA driver sees a GPU are TensorFlow and PyCUDA
started, each in a process of its own, to find out whether they see it too.
"""

from __future__ import annotations

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

    def text(self) -> str:
        """A line for each check, with the advice below it where there is any."""
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{MARKS[check.status]:>6}  {check.name:<{width}}  {check.found}")
            if check.advice:
                lines.append(f"{'':>6}  {'':<{width}}  -> {check.advice}")
        return "\n".join(lines)


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
