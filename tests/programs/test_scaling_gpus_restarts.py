"""What the benchmark of scaling over GPUs does about ranks that fail."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from test_benchmarks import BENCHMARKS


class Graphless:
    """Ranks that are up at once, and fail to take a step of 128 units in a CUDA graph."""

    started = 0

    def __init__(self, *_: Any) -> None:
        type(self).started += 1
        self.asked: list[dict[str, Any]] = []

    def ready(self, timeout: float) -> dict[str, Any]:
        return {"startup_s": 0.0}

    def ask(self, command: dict[str, Any], timeout: float) -> list[dict[str, Any]]:
        self.asked.append(command)
        options = command["options"]
        if options["graph"] and options["units"] == 128:
            raise self.failure(
                'Traceback (most recent call last):\n  File "x.py", line 1, in f\n'
                "torch.AcceleratorError: CUDA error: out of memory\n"
                "CUDA kernel errors might be asynchronously reported at some other API call.\n"
            )
        return [{}]

    def end(self, at_once: bool = False) -> None:
        pass


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    found = importlib.import_module("gpu_scaling.peers")
    monkeypatch.setattr(Graphless, "failure", found.launch.Unavailable, raising=False)
    monkeypatch.setattr(Graphless, "started", 0)
    monkeypatch.setattr(found.launch, "Group", Graphless)
    monkeypatch.setattr(found, "mpiexec_command", lambda _: ["mpiexec"])
    return found


def test_a_step_that_fails_in_a_graph_is_taken_without_in_that_setting_alone(
    script: ModuleType, tmp_path: Path
) -> None:
    results = SimpleNamespace(kept={"peers": {}, "unavailable": {}})
    options = SimpleNamespace(
        engine="fused", mpiexec=None, only=["torch_ddp"], ranks=[1, 2], python="python3"
    )
    peers = script.Peers(options, tmp_path, results)
    peers.start()
    large, small = (script.Cell("weak", "float32", units, 8192) for units in (128, 64))
    peers.prepare(large)
    assert Graphless.started == 4
    for group in peers.groups.values():
        assert [one["options"]["graph"] for one in group.asked] == [False]
    peers.prepare(small)
    for group in peers.groups.values():
        assert [one["options"]["graph"] for one in group.asked] == [False, True]
    assert Graphless.started == 4
    told = set(results.kept["unavailable"].values())
    assert told == {"torch.AcceleratorError: CUDA error: out of memory"}


def test_turns_that_were_without_a_graph_are_taken_again(script: ModuleType, tmp_path: Path) -> None:
    results = importlib.import_module("gpu_scaling.results").Results(tmp_path / "found.json", {})
    cell, turn = script.Cell("weak", "float32", 128, 8192), script.Turn("torch_ddp", 2)
    name = importlib.import_module("gpu_scaling.plan").run_name(cell, turn, 0)
    results.kept["torch"].append({"name": name, "options": {"graph": False}})
    assert results.has(cell, turn, 0)
    assert not results.has(cell, turn, 0, graphed=True)
    assert not results.has(cell, turn, 1)
