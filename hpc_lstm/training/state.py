"""The state of a run on one rank as flat named values, and back: what a checkpoint holds.

Names and what stands under them:

    weights, moments            flat float32 vectors
    engine/...                  what else the engine needs to go on to the bit
    order/pass, order/position  where this rank is in its order of windows
    position/...                steps, epochs and samples so far
    meeting/...                 windows and losses since the ranks last met
    best/...                    the best validation loss; its weights on rank 0 alone
    threads                     CPU threads of this rank: the last bits of a sum depend on them
    computed_by                 name of the engine: masks of dropout and the last bits depend on it
    sync/...                    where the cluster stands among others, on rank 0 alone: see ``clusters.state``
    data                        digest of the prices that the run is trained on
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.checkpoint.restore import Restored, restore
from hpc_lstm.clusters.state import ClusterState
from hpc_lstm.config import parse
from hpc_lstm.errors import InputError
from hpc_lstm.market.store import MarketStore
from hpc_lstm.training.ownership import refuse_changes
from hpc_lstm.training.schedule import Position

if TYPE_CHECKING:
    from hpc_lstm.training.loop import Training

# Averaged over the ranks, by the windows each has trained on since they met, when their number changes.
AVERAGED = ("weights", "moments")
SAMPLES = "meeting/samples"


def take(training: Training) -> dict[str, Any]:
    """This rank's state."""
    order = training.order.state()
    state: dict[str, Any] = {
        "weights": training.engine.parameters(),
        "moments": training.engine.moments(),
        "order/pass": order[0],
        "order/position": order[1],
        SAMPLES: training.since_meeting.samples,
        "meeting/loss_sum": training.since_meeting.loss_sum(),
        "steps_per_epoch": training.pace.steps_per_epoch,
        "threads": training.threads,
        "computed_by": training.engine.name,
        "best/loss": training.selection.loss,
        "best/step": training.selection.step,
        "best/stale": training.selection.stale,
        "best/last": training.selection.last,
        "data": data_digest(training.store),
    }
    state |= {f"position/{name}": value for name, value in asdict(training.position).items()}
    state |= {f"engine/{name}": value for name, value in training.engine.state().items()}
    if training.world.rank == 0:
        state["best/weights"] = training.selection.weights
    if training.clusters is not None:
        state |= {f"sync/{name}": value for name, value in training.clusters.state_dict().items()}
    return state


def go_on(training: Training) -> bool:
    """Put the run where its newest whole checkpoint stands; collective. False if there is none.

    Raises:
        InputError: the checkpoint is of a run with other settings or other prices.
    """
    world, log = training.world, training.log
    storage = training.storage
    found = restore(world, storage.store, storage.checkpoint_prefix, log, averaged=AVERAGED, weight=SAMPLES)
    if found is None:
        log.info("no whole checkpoint to go on from: starting afresh")
        return False
    world.raise_on_all(lambda: _refuse_another_run(training, found))
    same_ranks = found.manifest.ranks == world.size
    give_back(training, found.state, same_ranks=same_ranks)
    log.info(
        "going on from the checkpoint of step %d (epoch %d)", training.position.step, training.position.epoch
    )
    if not same_ranks:
        log.info(
            "it was written by %d ranks, now there are %d: weights and moments are the mean over those, the slices "
            "are made anew, and each rank starts its own order of windows",
            *(found.manifest.ranks, world.size),
        )
    elif training.config.train.deterministic and int(found.state["threads"]) != training.threads:
        log.warning(
            "the run had %d threads a rank, now it has %d: the last bits of its results will differ; set train.threads",
            *(int(found.state["threads"]), training.threads),
        )
    before = str(found.state.get("computed_by", training.engine.name))
    if training.config.train.deterministic and before != training.engine.name:
        log.warning(
            "the run was computed by the engine %s, now by %s: its results will differ; set train.engine",
            *(before, training.engine.name),
        )
    return True


def _refuse_another_run(training: Training, found: Restored) -> None:
    where = f"checkpoint of step {found.manifest.step}"
    refuse_changes(parse(found.manifest.config, where), training.config, where)
    if found.state["data"] != data_digest(training.store):
        raise InputError(
            f"{training.config.data.store}: holds other prices than this run began with; "
            "put the old store back, or use a new run"
        )


def give_back(training: Training, state: dict[str, Any], *, same_ranks: bool) -> None:
    """Put this rank into ``state``.

    On another number of ranks the slices differ: every rank starts its own order of windows afresh, and the present
    epoch goes on at the same fraction.
    """
    engine, selection = training.engine, training.selection
    engine.set_parameters(state["weights"])
    engine.set_moments(state["moments"])
    engine.set_state({k.removeprefix("engine/"): v for k, v in state.items() if k.startswith("engine/")})
    position = Position(
        **{k.removeprefix("position/"): int(v) for k, v in state.items() if k.startswith("position/")}
    )
    selection.loss, selection.step = float(state["best/loss"]), int(state["best/step"])
    selection.stale, selection.last = int(state["best/stale"]), float(state["best/last"])
    selection.weights = np.asarray(state.get("best/weights", selection.weights))
    standing = {k.removeprefix("sync/"): v for k, v in state.items() if k.startswith("sync/")}
    training.standing = ClusterState.from_state_dict(standing) if standing else None
    if same_ranks:
        training.order.set_state((int(state["order/pass"]), int(state["order/position"])))
        training.since_meeting.set(int(state[SAMPLES]), float(state["meeting/loss_sum"]))
    else:
        position = training.pace.refit(position, int(state["steps_per_epoch"]))
        # Passes already begun are not repeated in the same order by whoever now holds their windows.
        training.order.set_state((position.epoch + 1, 0))
    training.position = position
    # The best weights lie in rank 0's file alone.
    selection.weights = training.world.bcast(selection.weights)


def data_digest(store: MarketStore) -> str:
    """What tells one market store's contents from another's without reading all of it: SHA-256 in hex.

    It covers the columns, the symbols, how many rows each has, and the first and last row of the store.
    """
    rows = int(store.offsets[-1])
    digest = hashlib.sha256()
    for text in (*store.columns, *store.symbols):
        digest.update(text.encode() + b"\0")
    digest.update(np.ascontiguousarray(store.offsets, dtype=np.int64).tobytes())
    for row in (0, rows - 1):
        digest.update(store.rows(row, row + 1).tobytes() + store.dates(row, row + 1).tobytes())
    return digest.hexdigest()
