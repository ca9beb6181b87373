"""The files of a run directory, and whether a folder holds a run.

config.toml  run.json  metrics.json  symbols.csv  history.jsonl  model.keras  scaler.h5  intervals.json
rows.h5  timing/rank-00000.jsonl ...  timing.h5  log/rank-00000.log  checkpoints/  tensorboard/  report.html
walk_forward.json  walk_forward/
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hpc_lstm import config as configuration
from hpc_lstm.errors import InputError
from hpc_lstm.files import checked_path


@dataclass(frozen=True)
class RunDirectory:
    """Paths inside a run's folder; ``path`` is absolute."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name: that of its folder. In an object store, its checkpoints are stored under this name.

        A link has its own name, of which checkpoints may be stored; ".." and "" at the end of a path are no names.
        """
        return self.path.name if self.path.name not in ("", "..") else self.path.resolve().name

    @property
    def config(self) -> Path:
        """The resolved settings; written once the input is known to be good. A folder that has it holds a run."""
        return self.path / "config.toml"

    @property
    def record(self) -> Path:
        """Where the run began and what it was given: ``run_file``."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """What the model is worth; written last, so beside it all results are those of one end of the run."""
        return self.path / "metrics.json"

    @property
    def symbols(self) -> Path:
        """The metrics of every symbol, a line for each part and method."""
        return self.path / "symbols.csv"

    @property
    def walk_forward(self) -> Path:
        """What the folds of the last ``evaluate --walk-forward`` came to; the folds lie in a folder of this name."""
        return self.path / "walk_forward.json"

    @property
    def history(self) -> Path:
        """One JSON object per line: losses, learning rate and throughput over the run."""
        return self.path / "history.jsonl"

    @property
    def model(self) -> Path:
        """The trained network, for plain Keras."""
        return self.path / "model.keras"

    @property
    def intervals(self) -> Path:
        """How forecasts become intervals."""
        return self.path / "intervals.json"

    @property
    def scaler(self) -> Path:
        """The scaling of every symbol and column."""
        return self.path / "scaler.h5"

    @property
    def rows(self) -> Path:
        """The rows of the market store that the model knows: ``market.known_rows``."""
        return self.path / "rows.h5"

    @property
    def timing(self) -> Path:
        """The spans of all ranks, gathered."""
        return self.path / "timing.h5"

    @property
    def tensorboard(self) -> Path:
        """Folder of the event files."""
        return self.path / "tensorboard"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.path / "report.html"

    def rank_timing(self, rank: int) -> Path:
        """The spans of one rank, as JSON lines."""
        return self.path / "timing" / f"rank-{rank:05d}.jsonl"

    def rank_log(self, rank: int) -> Path:
        """The log of one rank."""
        return self.path / "log" / f"rank-{rank:05d}.log"

    @property
    def holds_run(self) -> bool:
        """True if a run has started here."""
        return self.config.exists()

    def load_config(self) -> configuration.RunConfig:
        """The run's settings.

        Raises:
            InputError: the folder is not a run directory, or its config.toml is damaged.
        """
        if not self.path.is_dir():
            raise InputError(
                f"{self.path}: no such run directory; `hpc-lstm train CONFIG.toml --run-dir DIR` creates one"
            )
        if not self.holds_run:
            raise InputError(f"{self.path}: not a run directory: it has no config.toml")
        return configuration.load_saved(self.config)


def at(path: str | Path) -> RunDirectory:
    """The run directory at ``path``, which need not exist.

    Raises:
        InputError: the path names a home folder that does not exist, or is not UTF-8.
    """
    return RunDirectory(checked_path(path))
