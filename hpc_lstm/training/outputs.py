"""What a run writes while it trains: checkpoints, history, and progress on the screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from hpc_lstm.checkpoint.writer import CheckpointWriter
from hpc_lstm.config import flat_settings
from hpc_lstm.errors import InputError
from hpc_lstm.runs.history import History, read_history
from hpc_lstm.timing.clocks import compare_clocks
from hpc_lstm.training.epoch_summary import EpochSummary
from hpc_lstm.training.memory import resident_bytes
from hpc_lstm.training.ownership import provenance_of
from hpc_lstm.training.progress_bar import ProgressBar, Throughput
from hpc_lstm.training.records import record_checkpoint
from hpc_lstm.training.schedule import Progress
from hpc_lstm.training.setup import Run
from hpc_lstm.training.state import TrainState


@dataclass(frozen=True)
class Outputs:
    """What a run writes to, opened where it starts or resumes."""

    checkpoints: CheckpointWriter
    history: History
    epoch: EpochSummary
    progress_bar: ProgressBar
    throughput: Throughput


@contextmanager
def open_outputs(run: Run, state: TrainState) -> Iterator[Outputs]:
    """Open a run's outputs at the step that ``state`` starts from."""
    config, first = run.config, run.world.rank == 0
    step = state.progress.step
    with ExitStack() as parts:
        checkpoints = CheckpointWriter(
            run.storage.store,
            run.storage.checkpoint_prefix,
            run.world,
            config.checkpoint,
            config.storage,
            run.log,
            config=config,
            schema_digest=run.engine.schema.digest(),
            present=step if state.resumed else None,
            completed=lambda step: record_checkpoint(
                run.directory, config, run.storage.checkpoint_prefix, step
            ),
            provenance=provenance_of(run.directory, run.storage) if first else None,
        )
        parts.callback(checkpoints.close)
        history = run.world.raise_on_all(
            lambda: History(
                run.directory, first, step, loggers=config.train.loggers, settings=flat_settings(config)
            )
        )
        parts.callback(history.close)
        begun = read_history(run.directory.history) if state.progress.step_in_epoch else []
        epoch = EpochSummary((entry for entry in begun if entry["step"] <= step), step)
        total = step + run.schedule.steps_left(state.progress)
        progress_bar = ProgressBar(first, total, config.train.log_every_s, run.log)
        parts.callback(progress_bar.close)
        yield Outputs(checkpoints, history, epoch, progress_bar, Throughput(state.progress.samples))


def report_progress(
    outputs: Outputs,
    progress: Progress,
    *,
    epochs: float,
    loss: float,
    learning_rate: float,
    elapsed_s: float,
    seconds: Mapping[str, float],
    rank_distance: float | None,
) -> None:
    """Put the state of the run into its history and on the screen.

    Args:
        epochs: epochs done, with their fraction.
        loss: mean loss of all ranks since they last agreed.
        learning_rate: of the next step.
        elapsed_s: since the program started.
        seconds: of this start so far, by phase.
        rank_distance: how far this rank's weights were from the mean before they were last averaged, if that is known.
    """
    outputs.epoch.add(progress.step, loss)
    speed = outputs.throughput.samples_per_second
    outputs.history.train(
        step=progress.step,
        epoch=epochs,
        loss=loss,
        learning_rate=learning_rate,
        samples_per_second=speed,
        elapsed_s=elapsed_s,
        memory_bytes=resident_bytes(),
    )
    outputs.history.points(progress.step, seconds, rank_distance)
    outputs.progress_bar.update(progress.step, epochs, loss, speed)


def save_checkpoint(run: Run, state: TrainState, outputs: Outputs, *, wait: bool) -> None:
    """Write the state of all ranks; collective.

    Args:
        wait: return when the checkpoint is complete: the run ends after it.

    Raises:
        CheckpointError: on all ranks: checkpoints cannot be written.
        InputError: another job has taken the run directory over, or somebody has deleted it.
    """
    run.world.raise_on_all(lambda: _check_directory(run))
    if wait:
        with run.timeline.span("wait"):
            compare_clocks(run.world, run.timeline)
    with run.timeline.span("checkpoint"):
        outputs.history.flush()
        run.timeline.flush()
        outputs.checkpoints.save(
            state.state_dict(run),
            step=state.progress.step,
            epoch=state.progress.epoch,
            samples=state.progress.samples,
            validation=state.early_stopping.last,
            wait=wait,
        )


def _check_directory(run: Run) -> None:
    if run.owner is not None:
        run.owner.check()
        if not run.directory.holds_run:
            raise InputError(
                f"{run.directory.path}: was deleted while the run was using it; put it back, or start another run"
            )
