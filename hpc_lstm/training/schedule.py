"""When things are due: averages, checkpoints, rounds of clusters, the ends of epochs.

Pure arithmetic on step counts, the same on every rank, so that every collective is reached by all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hpc_lstm.config import AGREE_STEPS, RunConfig


@dataclass(frozen=True)
class Progress:
    """How far a run has come; the same on every rank.

    Attributes:
        step: optimizer steps that every rank has taken since the run began.
        epoch: completed epochs.
        step_in_epoch: steps taken in the current epoch.
        samples: windows that all ranks together have trained on.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    samples: int = 0


@dataclass(frozen=True)
class Schedule:
    """The schedule of a run in steps.

    Attributes:
        steps_per_epoch: steps in which all ranks together take each train window once, rounded up.
        epochs: epochs of the run.
        average_every, checkpoint_every: steps between them; 0: never, except at the ends of epochs.
        agree_every: steps between two agreements of all ranks on loss and stopping, beside those at averages.
        sync_every: averages between the rounds of clusters; 0: none before the end.
        meetings: steps at which the ranks meet even if they could average without; they average at each.
    """

    steps_per_epoch: int
    epochs: int
    average_every: int
    averages_at_epoch_end: bool
    checkpoint_every: int
    checkpoints_at_epoch_end: bool
    agree_every: int
    sync_every: int = 0
    meetings: tuple[int, ...] = ()

    def is_done(self, at: Progress) -> bool:
        """True after the last epoch."""
        return at.epoch >= self.epochs

    def averages_at(self, at: Progress) -> bool:
        """True where the ranks average their weights."""
        return _due(at.step, self.average_every) or (self.averages_at_epoch_end and self.ends_epoch_at(at))

    def synchronizes_at(self, at: Progress) -> bool:
        """True where this cluster contributes to a round; its ranks have just averaged.

        Not at the end of the run, which has a round of its own.
        """
        if self.sync_every == 0 or self.is_done(at):
            return False
        if self.average_every:
            return _due(at.step, self.average_every * self.sync_every)
        return self.ends_epoch_at(at) and at.epoch % self.sync_every == 0

    def agrees_at(self, at: Progress) -> bool:
        """True where the ranks agree on loss and stopping: wherever they average, and more often if need be."""
        return self.averages_at(at) or self.ends_epoch_at(at) or _due(at.step, self.agree_every)

    def checkpoints_at(self, at: Progress) -> bool:
        """True where the state of all ranks is written."""
        return _due(at.step, self.checkpoint_every) or (
            self.checkpoints_at_epoch_end and self.ends_epoch_at(at)
        )

    def ends_epoch_at(self, at: Progress) -> bool:
        """True right after an epoch's last step."""
        return at.step_in_epoch == 0 and at.step > 0

    def steps_until_due(self, at: Progress) -> int:
        """Steps that may be taken in one call before anything is due."""
        return self._steps_until(at, self.average_every, self.checkpoint_every, self.agree_every)

    def steps_with_averages(self, at: Progress, most: int) -> int:
        """Steps, at most ``most``, of a call that averages between them; 0: there is none.

        It begins where the ranks have just averaged and ends with an average. Nothing else is due in between. The first
        average of an epoch is never within a call, so that it can be measured how far apart the ranks were.
        """
        every = self.average_every
        if not every or at.step % every or at.step_in_epoch == 0:
            return 0
        meetings = [step - at.step for step in self.meetings if step > at.step]
        steps = min([most, self._steps_until(at, self.checkpoint_every), *meetings])
        return steps - steps % every

    def _steps_until(self, at: Progress, *periods: int) -> int:
        """Steps until a period or the epoch ends."""
        ahead = [every - at.step % every for every in periods if every]
        return min([self.steps_per_epoch - at.step_in_epoch, *ahead])

    def steps_left(self, at: Progress) -> int:
        """Steps to the end of the last epoch."""
        return max(0, (self.epochs - at.epoch) * self.steps_per_epoch - at.step_in_epoch)

    def advance(self, at: Progress, steps: int, samples: int) -> Progress:
        """The progress ``steps`` later, in which all ranks together have trained on ``samples`` windows."""
        in_epoch = at.step_in_epoch + steps
        epoch = at.epoch
        if in_epoch >= self.steps_per_epoch:
            epoch, in_epoch = epoch + 1, 0
        return Progress(at.step + steps, epoch, in_epoch, at.samples + samples)

    def epochs_done(self, at: Progress) -> float:
        """Completed epochs with the fraction of the current one, which learning-rate schedules follow."""
        return at.epoch + at.step_in_epoch / self.steps_per_epoch

    def rescaled(self, at: Progress, old_steps_per_epoch: int) -> Progress:
        """The same progress on another number of ranks, whose epochs have another number of steps."""
        in_epoch = at.step_in_epoch * self.steps_per_epoch // old_steps_per_epoch
        return replace(at, step_in_epoch=in_epoch)


def make_schedule(
    config: RunConfig, train_windows: int, ranks: int, meetings: tuple[int, ...] = ()
) -> Schedule:
    """The schedule of a run.

    Args:
        train_windows: train windows of all ranks together.
        ranks: number of ranks; each takes ``batch_size`` windows a step.
        meetings: steps at which the ranks meet in any case.
    """
    every, checkpoint = config.average.every, config.checkpoint.every
    average_every = 0 if every == "epoch" else every
    return Schedule(
        steps_per_epoch=-(-train_windows // (ranks * config.train.batch_size)),
        epochs=config.train.epochs,
        average_every=average_every,
        averages_at_epoch_end=every != 0,
        checkpoint_every=0 if checkpoint == "epoch" else checkpoint,
        checkpoints_at_epoch_end=checkpoint == "epoch",
        agree_every=AGREE_STEPS if not 0 < average_every <= AGREE_STEPS else 0,
        sync_every=config.sync.every if config.sync.cluster else 0,
        meetings=meetings,
    )


def _due(step: int, every: int) -> bool:
    return every > 0 and step > 0 and step % every == 0
