"""What is measured so far, and its file."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from machine import describe

from gpu_scaling.plan import OURS, Cell, Turn, run_name
from hpc_lstm.files import write_text
from hpc_lstm.sweep.table import deduplicate

FORMAT, VERSION = "hpc_lstm scaling on GPUs", 1


class Results:
    """What is measured so far, and its file."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.kept: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "settings": settings,
            "machine": describe() | {"topology": topology()},
            "peers": {},
            "unavailable": {},
            "records": [],
            "torch": [],
            "clusters": {},
            "calls_s": [],
        }
        if path.exists():
            self.kept |= load(path)
            if self.kept["settings"] != settings:
                raise SystemExit(f"{path}: measured with other settings; choose another --output")
            print(f"going on from {path}: {len(self.kept['records'])} runs", flush=True)
        self.kept["unavailable"] = {}  # this call tries again
        self.kept["calls_s"].append(0.0)
        self._begin = time.monotonic()
        self._points = {one["name"].rpartition("-r")[0]: one["point"] for one in self.kept["records"]}

    def point(self, name: str) -> int:
        """The number of a setting, by its name."""
        return self._points.setdefault(name, len(self._points))

    def has(self, cell: Cell, turn: Turn, repeat: int, *, graphed: bool = False) -> bool:
        """Whether a turn was measured; of torch, in a CUDA graph if ``graphed``."""
        name = run_name(cell, turn, repeat)
        if turn.peer == OURS:
            return any(one["name"] == name for one in self.kept["records"])
        return any(one["name"] == name and one["options"]["graph"] >= graphed for one in self.kept["torch"])

    def write(self) -> None:
        """Write the file, whole or not at all; environments and settings, which are alike, once."""
        self.kept["calls_s"][-1] = round(time.monotonic() - self._begin, 1)
        records = self.kept["records"]
        environments, places = deduplicate([one["environment"] for one in records])
        configs, config_places = deduplicate([one["config"] for one in records])
        shared = [
            one | {"environment": place, "config": config}
            for one, place, config in zip(records, places, config_places, strict=True)
        ]
        found = self.kept | {"environments": environments, "configs": configs, "records": shared}
        write_text(self.path, json.dumps(found) + "\n")


def load(path: Path) -> dict[str, Any]:
    """A file of results.

    Raises:
        SystemExit: it is none.
    """
    try:
        found = json.loads(path.read_text())
        if (found["format"], found["version"]) != (FORMAT, VERSION):
            raise ValueError("written by another script, or another version of this one")
        environments, configs = found.pop("environments"), found.pop("configs")
        for one in found["records"]:
            one |= {"environment": environments[one["environment"]], "config": configs[one["config"]]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path}: holds no results on scaling: {error}") from None
    return found


def topology() -> str:
    """How the GPUs are linked, by nvidia-smi; "" without it."""
    try:
        asked = subprocess.run(["nvidia-smi", "topo", "-m"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.partition("\n\n")[0]
