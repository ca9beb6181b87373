"""When things are due: averages, checkpoints, meetings, the ends of epochs.

Pure arithmetic on step counts, the same on every rank, so that every collective is reached by all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hpc_lstm.config import MEETING_STEPS, RunConfig


@dataclass(frozen=True)
class Position:
    """How far a run has come.

    Attributes:
        step: optimizer steps that every rank has taken since the run began.
        epoch: completed epochs.
        step_in_epoch: steps taken in the present epoch.
        samples: windows that all ranks together have trained on.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    samples: int = 0


@dataclass(frozen=True)
class Pace:
    """The run's calendar in steps.

    Attributes:
        steps_per_epoch: steps in which all ranks together take each train window once, rounded up.
        epochs: epochs of the run.
        average_every, checkpoint_every: steps between them; 0 never but at the ends of epochs, see ``averages``.
        meeting_every: steps between the meetings of all ranks.
        sync_every: averages between the rounds of clusters; 0 none before the end.
    """

    steps_per_epoch: int
    epochs: int
    average_every: int
    averages_at_epoch_end: bool
    checkpoint_every: int
    checkpoints_at_epoch_end: bool
    meeting_every: int
    sync_every: int = 0

    def done(self, at: Position) -> bool:
        """True after the last epoch."""
        return at.epoch >= self.epochs

    def averages(self, at: Position) -> bool:
        """True where the ranks average their weights."""
        return _due(at.step, self.average_every) or (self.averages_at_epoch_end and self.ends_epoch(at))

    def syncs(self, at: Position) -> bool:
        """True where this cluster meets others; the ranks have averaged then. Not at the end, which has its own."""
        if self.sync_every == 0 or self.done(at):
            return False
        if self.average_every:
            return _due(at.step, self.average_every * self.sync_every)
        return self.ends_epoch(at) and at.epoch % self.sync_every == 0

    def meets(self, at: Position) -> bool:
        """True where the ranks agree on the state of the run; wherever they average, and more often if need be."""
        return self.averages(at) or self.ends_epoch(at) or _due(at.step, self.meeting_every)

    def checkpoints(self, at: Position) -> bool:
        """True where the state of all ranks is written."""
        return _due(at.step, self.checkpoint_every) or (self.checkpoints_at_epoch_end and self.ends_epoch(at))

    def ends_epoch(self, at: Position) -> bool:
        """True on the first step position after an epoch's last step."""
        return at.step_in_epoch == 0 and at.step > 0

    def steps_to_boundary(self, at: Position) -> int:
        """Steps that may be taken at once before anything is due."""
        ahead = [self.steps_per_epoch - at.step_in_epoch]
        for every in (self.average_every, self.checkpoint_every, self.meeting_every):
            if every:
                ahead.append(every - at.step % every)
        return min(ahead)

    def steps_left(self, at: Position) -> int:
        """Steps to the end of the last epoch."""
        return max(0, (self.epochs - at.epoch) * self.steps_per_epoch - at.step_in_epoch)

    def advance(self, at: Position, steps: int, samples: int) -> Position:
        """The position ``steps`` later, ``samples`` windows having been seen by all ranks together."""
        in_epoch = at.step_in_epoch + steps
        epoch = at.epoch
        if in_epoch >= self.steps_per_epoch:
            epoch, in_epoch = epoch + 1, 0
        return Position(at.step + steps, epoch, in_epoch, at.samples + samples)

    def progress(self, at: Position) -> float:
        """Epochs done, with their fraction: what learning-rate schedules go by."""
        return at.epoch + at.step_in_epoch / self.steps_per_epoch

    def refit(self, at: Position, old_steps_per_epoch: int) -> Position:
        """The same progress on another number of ranks, whose epochs have another number of steps."""
        in_epoch = at.step_in_epoch * self.steps_per_epoch // old_steps_per_epoch
        return replace(at, step_in_epoch=in_epoch)


def plan(config: RunConfig, train_windows: int, ranks: int) -> Pace:
    """The calendar of a run.

    Args:
        train_windows: train windows of all ranks together.
        ranks: number of ranks; each takes ``batch_size`` windows a step.
    """
    every, checkpoint = config.average.every, config.checkpoint.every
    average_every = 0 if every == "epoch" else every
    return Pace(
        steps_per_epoch=-(-train_windows // (ranks * config.train.batch_size)),
        epochs=config.train.epochs,
        average_every=average_every,
        averages_at_epoch_end=every != 0,
        checkpoint_every=0 if checkpoint == "epoch" else checkpoint,
        checkpoints_at_epoch_end=checkpoint == "epoch",
        meeting_every=MEETING_STEPS if not 0 < average_every <= MEETING_STEPS else 0,
        sync_every=config.sync.every if config.sync.cluster else 0,
    )


def _due(step: int, every: int) -> bool:
    return every > 0 and step > 0 and step % every == 0
