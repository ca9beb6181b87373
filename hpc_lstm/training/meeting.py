"""Where the ranks meet: they average their weights, agree on loss and stopping, and report.

An average that is queued on the GPU behind the steps (NCCL) needs neither the host nor the loss. A meeting then begins
by queueing it, and ends after the host has queued the next steps: the GPU goes on while the host waits for the loss
and for the other ranks, and writes its history. Weighting needs no agreement: all ranks train on as many windows. Where
averages follow each other more closely than calls of the engine, it takes several within a call, and the ranks meet at
the last of them.

The phases of the timeline are the host's, which is ahead of the GPU and waits for it here. It learns of the loss when
the steps before the average are done, and goes on when the average is. The average's share of this time is what it took
on the GPU of the rank that came last; the rest is the wait for that rank. Of several averages within a call, it is what
they took together on the GPU that waited least.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hpc_lstm.parallel.averaging import Agreement
from hpc_lstm.parallel.work import Work
from hpc_lstm.training import log as messages
from hpc_lstm.training.learning_rate import learning_rates
from hpc_lstm.training.outputs import Outputs, report_progress
from hpc_lstm.training.rank_distance import Distance, rank_distance
from hpc_lstm.training.running_mean import RunningMean
from hpc_lstm.training.schedule import Progress
from hpc_lstm.training.setup import Run
from hpc_lstm.training.state import TrainState


@dataclass
class Meeting:
    """A meeting that has begun.

    Attributes:
        progress: when it began; the same on every rank.
        losses: what this rank had trained on since the meeting before.
        average: of the weights, queued on the GPU; None: there is none, or it is done.
        within: the averages are those of a call, behind some of its steps.
        agreement: of the ranks; None: not yet.
        arrived: this rank has waited for the average, and its barrier is recorded.
        distance: of this rank's weights from the mean, if it was measured.
    """

    progress: Progress
    losses: RunningMean
    average: Work | None = None
    within: bool = False
    agreement: Agreement | None = None
    arrived: bool = False
    distance: Distance = field(default_factory=Distance)


def begin_meeting(run: Run, state: TrainState, outputs: Outputs, averages: Work | None = None) -> Meeting:
    """Average if it is due, or queue it; collective.

    Args:
        averages: those that the engine's last call has taken, of which the last one is that of this meeting.
    """
    meeting = Meeting(state.progress, state.losses, averages, within=averages is not None)
    state.losses = RunningMean()
    if averages is not None or run.world.size == 1 or not run.schedule.averages_at(state.progress):
        return meeting
    samples, measured = meeting.losses.samples, outputs.history.distance_due
    if run.averager.is_queued(run.engine):
        with rank_distance(run.engine, measured) as meeting.distance:
            meeting.average = run.averager.average(run.engine, samples, samples * run.world.size)
            if measured:  # this rank waits for the others already here, where it reads the mean
                with run.timeline.span("wait"):
                    meeting.average.wait()
                run.timeline.record_barrier()
                meeting.arrived = True
        return meeting
    meeting.agreement = _agree(run, meeting)
    with run.timeline.span("average"), rank_distance(run.engine, measured) as meeting.distance:
        run.averager.average(run.engine, samples, meeting.agreement.samples)
    return meeting


def may_end_later(run: Run, meeting: Meeting) -> bool:
    """Whether the next steps may be queued before the meeting ends; the same on every rank.

    Not where something else is due, which needs to know what the ranks have agreed on.
    """
    schedule, at = run.schedule, meeting.progress
    return run.engine.asynchronous and not (
        schedule.ends_epoch_at(at) or schedule.checkpoints_at(at) or run.clusters is not None
    )


def end_meeting(run: Run, meeting: Meeting, outputs: Outputs) -> bool:
    """Agree with the other ranks on loss and stopping, unless it is done, and report; returns whether to stop.

    Raises:
        HpcLstmError: on all ranks: the loss is not finite.
    """
    agreement = meeting.agreement or _agree(run, meeting)
    if not math.isfinite(agreement.loss):
        raise messages.diverged(run.world, meeting.progress)
    outputs.throughput.update(meeting.progress.samples)
    report_progress(
        outputs,
        meeting.progress,
        epochs=run.schedule.epochs_done(meeting.progress),
        loss=agreement.loss,
        learning_rate=float(learning_rates(run.config.train, run.schedule, meeting.progress, 1)[0]),
        elapsed_s=run.timeline.wall_s,
        seconds=run.timeline.seconds_by_phase(),
        rank_distance=meeting.distance.value,
    )
    return agreement.stop


def _agree(run: Run, meeting: Meeting) -> Agreement:
    """Agree with the other ranks, and wait for an average that was queued."""
    samples, loss_sum = meeting.losses.samples, meeting.losses.loss_sum()
    # The loss is behind these averages: what they took, this rank has waited for in the line before.
    own_ns = meeting.average.wait() if meeting.within and meeting.average is not None else 0
    averaged_ns = 0
    with run.timeline.span("wait"):  # the first rank to arrive waits here for the last
        agreement = run.averager.agree(samples, loss_sum)
        if meeting.average is not None:
            averaged_ns = run.averager.shortest(meeting.average.wait())
    if own_ns:
        run.timeline.record_barrier_within(own_ns, averaged_ns)
    elif not meeting.arrived:
        run.timeline.record_barrier(averaged_ns)
    return agreement
