"""What changes in a run while it trains, and how a checkpoint holds it: flat named values.

weights, moments            flat float32 vectors
engine/...                  what else the engine needs to continue to the bit
order/pass, order/position  how far this rank's sampler is
position/...                steps, epochs and samples so far
meeting/...                 windows and losses since the ranks last agreed
best/...                    the best validation loss; its weights on rank 0 alone
threads                     CPU threads of this rank: the last bits of a sum depend on them
computed_by                 what computed: dropout masks and last bits depend on it
sync/...                    this cluster's state among the others, on rank 0 alone
data                        digest of the market store that older versions compare
known/...                   the rows that the run is trained on, on rank 0 alone
others/...                  rows of other symbols that its features take means of, on rank 0 alone
scaling                     digest of the scaling that the run keeps; "" if it fits its own
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hpc_lstm.market.known_rows import Growth, KnownRows
from hpc_lstm.preprocess.sampler import ShuffledSampler
from hpc_lstm.training.early_stopping import EarlyStopping
from hpc_lstm.training.running_mean import RunningMean
from hpc_lstm.training.schedule import Progress
from hpc_lstm.training.setup import Run

if TYPE_CHECKING:
    from hpc_lstm.clusters.state import ClusterState

# Averaged over the ranks, weighted by SAMPLES, when the number of ranks changes.
AVERAGED = ("weights", "moments")
SAMPLES = "meeting/samples"
# Numbers of a state that count something.
COUNTS = (
    SAMPLES,
    "order/pass",
    "order/position",
    "steps_per_epoch",
    *(f"position/{f.name}" for f in fields(Progress)),
)


@dataclass
class TrainState:
    """What changes while a run trains, beside the engine's own state.

    Attributes:
        sampler: the order of this rank's windows, and how far it is.
        early_stopping: the best weights so far; the same on every rank.
        progress: how far the run has come; the same on every rank.
        losses: what this rank has trained on since the ranks last agreed.
        cluster: this cluster's state by the checkpoint, on rank 0; from then on ``Run.clusters`` keeps it.
        resumed: the run continues from a checkpoint.
        growth: what the market store has got since that checkpoint; None: nothing.
        run_id: random name of the run by that checkpoint; "" where there is none.
    """

    sampler: ShuffledSampler
    early_stopping: EarlyStopping
    progress: Progress = field(default_factory=Progress)
    losses: RunningMean = field(default_factory=RunningMean)
    cluster: ClusterState | None = None
    resumed: bool = False
    growth: Growth | None = None
    run_id: str = ""

    @classmethod
    def initial(cls, run: Run) -> TrainState:
        """The state of a run before its first step."""
        settings = run.config.train
        return cls(
            ShuffledSampler(len(run.data.train), settings.batch_size, settings.seed, run.world.rank),
            EarlyStopping(settings.patience, settings.min_delta),
        )

    def state_dict(self, run: Run) -> dict[str, Any]:
        """This rank's state, the engine's included, as a checkpoint holds it."""
        passes, position = self.sampler.state()
        state: dict[str, Any] = {
            "weights": run.engine.parameters(),
            "moments": run.engine.moments(),
            "order/pass": passes,
            "order/position": position,
            SAMPLES: self.losses.samples,
            "meeting/loss_sum": self.losses.loss_sum(),
            "steps_per_epoch": run.schedule.steps_per_epoch,
            "threads": run.placement.threads,
            "computed_by": run.engine.arithmetic,
            "data": run.store.outline_digest,
            "scaling": run.origin.scaling_digest,
        }
        state |= _named("position", asdict(self.progress))
        state |= _named("engine", run.engine.state())
        state |= _named("best", self.early_stopping.state_dict())
        if run.world.rank == 0:
            state["best/weights"] = self.early_stopping.weights
            state |= _named("known", run.known.state_dict())
            if run.others is not None:
                state |= _named("others", run.others.state_dict())
        if run.clusters is not None:
            state |= _named("sync", run.clusters.state_dict())
        return state

    def load_state_dict(self, run: Run, state: Mapping[str, Any], *, same_slices: bool) -> None:
        """Continue from what ``state_dict`` returned; collective.

        Where the ranks have other slices, because of another number of ranks or of new rows, every rank starts a new
        order of its windows, and the current epoch continues at the same fraction.
        """
        run.engine.set_parameters(state["weights"])
        run.engine.set_moments(state["moments"])
        run.engine.set_state(_below("engine", state))
        # Rank 0's file alone holds the best weights.
        weights = run.world.bcast(np.asarray(state.get("best/weights", self.early_stopping.weights)))
        self.early_stopping.load_state_dict(_below("best", state), weights)
        if cluster_state := _below("sync", state):
            from hpc_lstm.clusters.state import ClusterState

            self.cluster = ClusterState.from_state_dict(cluster_state)
        else:
            self.cluster = None
        progress = Progress(**{name: int(value) for name, value in _below("position", state).items()})
        if same_slices:
            self.sampler.set_state((int(state["order/pass"]), int(state["order/position"])))
            self.losses.reset(int(state[SAMPLES]), float(state["meeting/loss_sum"]))
        else:
            progress = run.schedule.rescaled(progress, int(state["steps_per_epoch"]))
            # A pass that was begun is not repeated in the same order by the ranks that now hold its windows.
            self.sampler.set_state((progress.epoch + 1, 0))
        self.progress, self.resumed = progress, True


def known_rows_of(state: Mapping[str, Any], group: Literal["known", "others"] = "known") -> KnownRows | None:
    """The rows that a checkpoint was trained on, from rank 0's state; None of an older version's.

    Args:
        group: "others": rows of other symbols that its features take means of, None if they take none.
    """
    known = _below(group, state)
    return KnownRows.from_state_dict(known) if known else None


def _named(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{group}/{name}": value for name, value in values.items()}


def _below(group: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a group by their own names."""
    start = f"{group}/"
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
