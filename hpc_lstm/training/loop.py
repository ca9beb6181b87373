"""One run of training, from a market store to a measured model.

Every rank reads its own slice of the store, scales it and cuts it into windows, and trains its own copy of the
network on them. Every few steps the ranks average their weights over MPI. Every few averages they synchronize with
other clusters, if there are any, through an object store. After each epoch the ranks validate together and keep the
best weights. At its interval the state of all ranks is written to a folder or to S3, from which a stopped or killed
run resumes. At the end the model is measured beside the simplest forecasts there are, and where each rank's time went
is written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from hpc_lstm.config import RunConfig
from hpc_lstm.parallel.work import Work
from hpc_lstm.parallel.world import World
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.timing.clocks import compare_clocks
from hpc_lstm.training import cluster_sync
from hpc_lstm.training import log as messages
from hpc_lstm.training.garbage import kept_objects
from hpc_lstm.training.learning_rate import learning_rates
from hpc_lstm.training.meeting import Meeting, begin_meeting, end_meeting, may_end_later
from hpc_lstm.training.outputs import Outputs, open_outputs, save_checkpoint
from hpc_lstm.training.ownership import owned, resumed_settings
from hpc_lstm.training.results import finish
from hpc_lstm.training.resume import is_complete, is_trained, start
from hpc_lstm.training.setup import Run, recorded, set_up
from hpc_lstm.training.stages import Stages
from hpc_lstm.training.state import TrainState
from hpc_lstm.training.validation import validate
from hpc_lstm.training.warm_start import WarmStart

if TYPE_CHECKING:
    from hpc_lstm.model.engine import AveragingEngine, LossValue


def train(
    config: RunConfig,
    directory: RunDirectory,
    world: World,
    *,
    resume: bool = False,
    warm_start: WarmStart | None = None,
    accept_unsigned: bool = False,
    stages: Stages | None = None,
    meetings: tuple[int, ...] = (),
) -> None:
    """Train as ``config`` says and fill the run directory; collective over all ranks.

    Args:
        resume: continue from the newest complete checkpoint; start anew if there is none.
        warm_start: start with the model of another run instead of weights from the seed.
        stages: tells what is going on before the first step; closed there.
        meetings: steps at which the ranks meet in any case, by whole ``average.every``; they meet wherever they
            average, but for GPUs that average several times within a call of the engine.
        accept_unsigned: with a key of signatures, resume from what is not signed for this run.

    Raises:
        InputError: settings, market store, run directory or storage are wrong, or the memory is not enough.
        StopRequested: a signal asked the run to stop; its state is in a checkpoint, unless it had not begun.
    """
    world.handle_signals()
    messages.stop_if_asked(world)
    stages = stages or Stages(active=False)
    config = resumed_settings(directory, config, world, resume=resume)
    with owned(directory, config, world, resume=resume) as owner:
        with recorded(directory, world) as (timeline, log):
            compare_clocks(world, timeline)
            messages.log_owner(log, owner, world)
            with set_up(
                config,
                directory,
                world,
                timeline,
                log,
                warm_start=warm_start,
                owner=owner,
                stages=stages,
                meetings=meetings,
            ) as run:
                state = start(run, resume=resume, accept_unsigned=accept_unsigned)
                stages.close()
                complete = is_complete(run, state)
                if complete:
                    messages.log_complete(log, config, stopped_early=state.early_stopping.should_stop)
                    timeline.discard()
                else:
                    for stage in stages.spans():
                        timeline.record_stage(*stage)
                    with open_outputs(run, state) as outputs:
                        with kept_objects():
                            train_epochs(run, state, outputs)
                        finish(run, state, outputs)
        world.barrier()
        if world.rank == 0 and not complete:
            from hpc_lstm.timing.spans import gather_timing  # not needed before the first step

            gather_timing(directory.path)


def train_epochs(run: Run, state: TrainState, outputs: Outputs) -> None:
    """Train to the last epoch, until the validation loss stops falling, or until asked to stop.

    Raises:
        StopRequested: some rank was asked to stop; the state of all is in a checkpoint.
    """
    run.timeline.enter("compute")
    # An earlier start may have made this cluster's final contribution after its last checkpoint.
    contributed = run.clusters is not None and run.clusters.already_finished
    if contributed and not is_trained(run, state):
        messages.log_contributed(run.log)
    schedule = run.schedule
    meeting: Meeting | None = None
    while not (is_trained(run, state) or contributed):
        averages = take_steps(run, state)
        # The GPU has steps to take while the host learns how the last meeting ended.
        stop = meeting is not None and end_meeting(run, meeting, outputs)
        meeting = begin_meeting(run, state, outputs, averages) if schedule.agrees_at(state.progress) else None
        if meeting is not None and (stop or not may_end_later(run, meeting)):
            stop, meeting = end_meeting(run, meeting, outputs) or stop, None
        if run.clusters is not None and schedule.averages_at(state.progress) and not stop:
            stop = cluster_sync.synchronize(run, state, outputs)
        if schedule.ends_epoch_at(state.progress):
            validate(run, state, outputs)
        if stop or schedule.checkpoints_at(state.progress):
            save_checkpoint(run, state, outputs, wait=stop)
        if stop:
            raise messages.stopped(run.world, state.progress)


def take_steps(run: Run, state: TrainState) -> Work | None:
    """Train on the next batches, up to where something is due that the engine does not do itself.

    Returns:
        The averages that the engine takes within the call, the last one behind its last step; None: it takes none.
    """
    most, within, engine = run.engine.steps_per_call, run.averages_within, run.engine
    together = run.schedule.steps_with_averages(state.progress, most) if within else 0
    count = together or min(most, run.schedule.steps_until_due(state.progress))
    batch_size, windows = run.config.train.batch_size, run.data.train
    with run.timeline.span("preprocess"):
        inputs, targets = windows.next_batch(state.sampler, count, cut=not run.engine.cuts_windows)
    run.timeline.reassign(windows.waited_ns, "compute")  # the GPU was still busy with earlier steps
    rates = learning_rates(run.config.train, run.schedule, state.progress, count)
    loss: LossValue
    averages: Work | None = None
    with run.timeline.span("compute"):
        if together:
            loss = averages = cast("AveragingEngine", engine).step(inputs, targets, rates, within)
        else:
            loss = engine.step(inputs, targets, rates)
    windows.used_by(loss)
    state.losses.add(loss, count * batch_size)
    state.progress = run.schedule.advance(state.progress, count, count * batch_size * run.world.size)
    return averages
