"""The history of a run: complete, each step once, also over restarts and crashes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpc_lstm.runs import directory, event_file, history
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.event_file import EventFile
from hpc_lstm.runs.history import History


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return directory.at(tmp_path)


def tell(where: History, step: int, loss: float = 0.5) -> None:
    where.train(
        step=step, epoch=step / 10, loss=loss, learning_rate=0.01, samples_per_second=math.nan, elapsed_s=1.0
    )


def read_events(file: Path) -> Iterator[Any]:
    """What TensorBoard's own reader finds in a file; TensorFlow's takes seconds to import."""
    from tensorboard.compat.proto import event_pb2
    from tensorboard.compat.tensorflow_stub import errors
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    reader = PyRecordReader_New(str(file))
    while True:
        try:
            reader.GetNext()
        except errors.OutOfRangeError:
            return
        yield event_pb2.Event.FromString(reader.record())


def events(run: RunDirectory) -> set[tuple[str, int, float]]:
    from tensorboard.util.tensor_util import make_ndarray

    found = set()
    for file in sorted(run.tensorboard.iterdir()):
        for event in read_events(file):
            for value in event.summary.value:
                found.add((value.tag, event.step, round(float(make_ndarray(value.tensor)), 6)))
    return found


def test_entries(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "EVENTS_EVERY_S", 0.0)
    mine = History(run, True, 0)
    tell(mine, 1)
    mine.validation(step=2, epoch=1, loss=0.25, best=True)
    mine.flush()
    first, second = history.read_history(run.history)
    mine.close()
    mine.close()
    assert first == {
        "kind": "train", "step": 1, "epoch": 0.1, "loss": 0.5, "learning_rate": 0.01,
        "samples_per_second": None, "elapsed_s": 1.0,
    }  # fmt: skip
    assert second == {"kind": "validation", "step": 2, "epoch": 1, "loss": 0.25, "best": True}
    json.loads(
        run.history.read_text().splitlines()[0], parse_constant=pytest.fail
    )  # no NaN, which is no JSON
    seen = events(run)
    assert {("train/loss", 1, 0.5), ("train/learning_rate", 1, 0.01), ("validation/loss", 2, 0.25)} <= seen


def test_points_for_tensorboard_are_thinned_out_but_not_the_file(run: RunDirectory) -> None:
    mine = History(run, True, 0)
    for step in range(1, 200):
        tell(mine, step)
    mine.validation(step=199, epoch=1, loss=0.25, best=True)
    mine.close()
    assert [entry["step"] for entry in history.read_history(run.history)] == [*range(1, 200), 199]
    told = events(run)
    assert ("validation/loss", 199, 0.25) in told
    assert len(told) < 60


def test_resumed_history_forgets_what_comes_after_the_checkpoint(run: RunDirectory) -> None:
    first = History(run, True, 0)
    for step in range(1, 8):
        tell(first, step)
    first.close()
    second = History(run, True, 4)
    tell(second, 5, loss=0.1)
    second.close()
    assert [(entry["step"], entry["loss"]) for entry in history.read_history(run.history)] == [
        (1, 0.5), (2, 0.5), (3, 0.5), (4, 0.5), (5, 0.1),
    ]  # fmt: skip
    History(run, True, 0).close()
    assert history.read_history(run.history) == []


@pytest.mark.parametrize(
    "end", [b'{"kind": "train", "st', b"7\n", b'{"other": 1}\n', b"\xff\xfe\n", b"\x00\x00"]
)
def test_end_cut_off_or_damaged(run: RunDirectory, end: bytes) -> None:
    whole = {"kind": "train", "step": 3, "loss": 1.0}
    run.history.write_bytes(json.dumps(whole).encode() + b"\n" + end)
    assert history.read_history(run.history) == [whole]
    resumed = History(run, True, 3)
    tell(resumed, 4)
    resumed.close()
    assert [entry["step"] for entry in history.read_history(run.history)] == [3, 4]


def test_other_ranks_write_nothing(run: RunDirectory) -> None:
    other = History(run, False, 0)
    tell(other, 1)
    other.flush()
    other.close()
    assert list(run.path.iterdir()) == []


def test_no_history(run: RunDirectory) -> None:
    assert history.read_history(run.history) == []


def test_full_disk_is_not_hidden(run: RunDirectory) -> None:
    mine: Any = History(run, True, 0)
    mine._file.close()
    mine._file = Path("/dev/full").open("w")  # noqa: SIM115
    tell(mine, 1)
    with pytest.raises(OSError, match="No space left"):
        mine.flush()
    mine._file = Path("/dev/null").open("w")  # noqa: SIM115
    mine.close()


def test_tensorboard_reads_the_hyperparameters(run: RunDirectory) -> None:
    from tensorboard.plugins.hparams import plugin_data_pb2
    from tensorboard.util.tensor_util import make_ndarray

    mine = History(run, True, 0, settings={"train.epochs": 5, "data.features": ["close"], "a.b": True})
    mine.close()
    (file,) = run.tensorboard.iterdir()
    values = [value for event in read_events(file) for value in event.summary.value]
    (value,) = values
    assert value.tag == "_hparams_/session_start_info"
    assert value.metadata.plugin_data.plugin_name == "hparams"
    assert make_ndarray(value.tensor).tolist() == [0.0]
    data = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
    settings = data.session_start_info.hparams
    assert settings["train.epochs"].number_value == 5
    assert settings["data.features"].string_value == "['close']"
    assert settings["a.b"].bool_value
    assert data.session_start_info.group_name == run.name
    assert data.session_start_info.start_time_secs > 1e9


def test_phases_and_distances_are_points_of_tensorboard_alone(run: RunDirectory) -> None:
    mine = History(run, True, 0)
    tell(mine, 1)
    mine.points(1, {"compute": 2.5}, 0.125)
    tell(mine, 2)  # too soon for another point
    mine.points(2, {"compute": 3.5}, None)
    tell(mine, 3)
    mine.points(
        3, {"compute": 3.75}, 0.25
    )  # a distance is measured where it is wanted, and is a point even so
    mine.close()
    told = events(run)
    assert ("seconds/compute", 1, 2.5) in told
    assert ("ranks/distance_before_average", 1, 0.125) in told
    assert [point for point in told if point[1] > 1] == [("ranks/distance_before_average", 3, 0.25)]


def test_event_files_are_those_that_tensorboard_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, by its own classes."""
    from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    monkeypatch.setattr(event_file.time, "time", lambda: 1234567890.125)
    metadata = summary_pb2.SummaryMetadata(
        plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="scalars"),
        data_class=summary_pb2.DATA_CLASS_SCALAR,
    )
    mine = EventFile(tmp_path / "mine")
    with (tmp_path / "theirs").open("wb") as file:
        records = RecordWriter(file)
        wall = {"wall_time": 1234567890.125}
        records.write(event_pb2.Event(file_version="brain.Event:2", **wall).SerializeToString())
        for tag, value, step in (("train/loss", 0.1, 1), ("schön" * 40, math.nan, 2**40), ("x", 1e300, 3)):
            tensor = tensor_pb2.TensorProto(
                dtype=types_pb2.DT_FLOAT, float_val=[value], tensor_shape=tensor_shape_pb2.TensorShapeProto()
            )
            point = summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)
            event = event_pb2.Event(step=step, summary=summary_pb2.Summary(value=[point]), **wall)
            records.write(event.SerializeToString())
            mine.scalar(tag, value, step)
    mine.close()
    (written,) = (tmp_path / "mine").iterdir()
    assert written.read_bytes() == (tmp_path / "theirs").read_bytes()
