"""A training job that takes seconds: a small store and a config."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import h5py
import numpy as np

from hpc_lstm.checkpoint import manifest as manifests
from hpc_lstm.checkpoint.state_file import unpack_state
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.storage.folder import FolderStore

CONFIG = """
[data]
store = "{store}"
window = 8
features = ["close"]
target = "close"
scaling = "minmax"
split = {split}
[model]
layers = 1
units = 5
dropout = {dropout}
[train]
batch_size = {batch_size}
epochs = {epochs}
optimizer = "{optimizer}"
learning_rate = 0.01
deterministic = true
seed = 3
threads = 1
[average]
every = {every}
what = "{what}"
[checkpoint]
every = {checkpoint_every}
{more}
"""

DEFAULTS = {
    "split": "[0.7, 0.15, 0.15]",
    "dropout": 0.2,
    "batch_size": 8,
    "epochs": 3,
    "optimizer": "adam",
    "every": 4,
    "what": "weights",
    "checkpoint_every": 5,
    "more": "",
}


def write_store(path: Path, rows: list[int], seed: int = 0) -> Path:
    """A store of one random walk per entry of ``rows``."""
    generator = np.random.default_rng(seed)
    with StoreWriter(path, ["close"], "test") as store:
        for number, count in enumerate(rows):
            walk = 100 * np.exp(np.cumsum(generator.normal(0, 0.01, count)))
            store.append(f"S{number}", np.arange(count, dtype=np.int64), walk[:, None])
    return path


def write_config(folder: Path, name: str = "job", **settings: object) -> Path:
    """A config of a store of 3 symbols in ``folder``, unless ``store`` names another."""
    store = settings.pop("store", None) or folder / "market.h5"
    if not Path(str(store)).exists():
        write_store(Path(str(store)), [150, 90, 120])
    path = folder / f"{name}.toml"
    path.write_text(CONFIG.format(store=store, **{**DEFAULTS, **settings}))
    return path


def train_briefly(config: Path) -> None:
    """Let a config that the project ships train a tiny model for one epoch only."""
    text = config.read_text()
    for name, number in (("epochs", 1), ("units", 4)):
        text, found = re.subn(rf"^{name} = \d+$", f"{name} = {number}", text, flags=re.MULTILINE)
        assert found == 1
    config.write_text(text)


def checkpoints(run: Path) -> list[int]:
    """Steps of the whole checkpoints in a run directory."""
    return (
        manifests.complete_steps(FolderStore(run.parent), f"{run.name}/checkpoints/main")
        if run.exists()
        else []
    )


def final_states(run: Path) -> list[dict[str, object]]:
    """The state of every rank in a run's newest checkpoint."""
    store, prefix = FolderStore(run.parent), f"{run.name}/checkpoints/main"
    manifest = manifests.read_manifest(store, prefix, checkpoints(run)[-1])
    place = manifests.step_prefix(prefix, manifest.step)
    return [unpack_state(store.get(f"{place}/{file.name}")) for file in manifest.files]


def model_weights(run: Path) -> np.ndarray:
    """The weights of a run's model.keras, without TensorFlow in this process."""
    found: list[np.ndarray] = []
    with zipfile.ZipFile(run / "model.keras") as archive:
        data = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(
            lambda _, item: found.append(np.ravel(item[()])) if isinstance(item, h5py.Dataset) else None
        )
    return np.concatenate(found)
