"""How fast a network trains on a GPU by each way there is, as measured: what ``auto`` chooses by.

A table holds the measurements of one kind of card. Between measured numbers of units and windows, speeds are
interpolated on logarithmic scales; ways are compared only where all of them were measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

# Of the file's layout; a file of another one is not read.
VERSION = 1
# The ways: of the fused engine's kernels those for small and for large batches, and the Keras engine.
CHAINS, TILES, KERAS = "chains", "tiles", "keras"
KERNELS = (CHAINS, TILES)
WAYS = (*KERNELS, KERAS)
# kernels/lstm_tile_*.cu and lstm_wide_*.cu pad units to a multiple of this, and take as long as for all of them.
TILE_UNITS = 64
# How many times as large or as small as those that were measured a batch may be.
REACH = 4


@dataclass(frozen=True)
class Network:
    """What a speed depends on.

    Attributes:
        precision: as in ``train.precision``.
        layers, window, features, units: of the network, not padded.
        dropout: whether outputs are dropped.
        batch: windows of a step.
    """

    precision: str
    layers: int
    window: int
    features: int
    dropout: bool
    units: int
    batch: int

    @property
    def kind(self) -> tuple[str, int, int, int, bool]:
        """All but units and batch."""
        return self.precision, self.layers, self.window, self.features, self.dropout


@dataclass(frozen=True)
class Measurement:
    """Training speeds of one network.

    Attributes:
        samples_per_s: by way; None: tried, and not possible. A way that is not named was not tried.
    """

    network: Network
    samples_per_s: dict[str, float | None]


@dataclass(frozen=True)
class SpeedTable:
    """The measurements of one kind of card.

    Attributes:
        card: its name.
        capability: compute capability.
        multiprocessors: how many it has.
        measurements: in the order in which networks of the same kind come first.
    """

    card: str
    capability: tuple[int, int]
    multiprocessors: int
    measurements: tuple[Measurement, ...] = ()

    def fastest(self, network: Network, ways: Collection[str], multiprocessors: int = 0) -> str | None:
        """The fastest of several ways to train a network; None: that was not measured.

        Networks of the same layers, window and features count, else those that were measured first.

        Args:
            multiprocessors: of the card at hand, where it is another of the same capability: what a batch of each
                multiprocessor takes is then taken to be the same.
        """
        scale = self.multiprocessors / multiprocessors if multiprocessors else 1.0
        batch = max(1, round(network.batch * scale))
        kinds = dict.fromkeys(one.network.kind for one in self.measurements)
        same = [kind for kind in kinds if kind[0] == network.precision]
        for kind in sorted(same, key=lambda kind: kind != network.kind):
            points = [
                one
                for one in self.measurements
                if one.network.kind == kind and set(ways) <= one.samples_per_s.keys()
            ]
            speeds = {way: _interpolated(points, way, network.units, batch) for way in ways}
            known = {way: speed for way, speed in speeds.items() if speed is not None}
            if len(known) == len(ways) and max(known.values()) > 0:
                return max(known, key=known.__getitem__)
        return None

    def merged(self, measurements: Iterable[Measurement]) -> SpeedTable:
        """The table with other measurements added, which take the place of older ones of the same network."""
        found = {one.network: one for one in self.measurements}
        for one in measurements:
            older = found[one.network].samples_per_s if one.network in found else {}
            found[one.network] = Measurement(one.network, older | one.samples_per_s)
        return replace(self, measurements=tuple(found.values()))

    def to_json(self) -> str:
        """The table as a file's text."""
        rows = [{**asdict(one.network), "samples_per_s": one.samples_per_s} for one in self.measurements]
        lines = ",\n".join("  " + json.dumps(row) for row in rows)
        head = {
            "version": VERSION,
            "card": self.card,
            "capability": list(self.capability),
            "multiprocessors": self.multiprocessors,
        }
        return json.dumps(head)[:-1] + ', "measurements": [\n' + lines + "\n]}\n"

    @staticmethod
    def from_json(text: str) -> SpeedTable:
        """The table that ``to_json`` wrote.

        Raises:
            ValueError: the text is none.
        """
        try:
            given = json.loads(text)
            if given["version"] != VERSION:
                raise ValueError(f"version {given['version']}")
            major, minor = given["capability"]
            return SpeedTable(
                str(given["card"]),
                (int(major), int(minor)),
                _positive(given["multiprocessors"]),
                tuple(_measurement(dict(row)) for row in given["measurements"]),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None


def _measurement(row: dict[str, Any]) -> Measurement:
    speeds = dict(row.pop("samples_per_s"))
    network = Network(**row)
    for name in ("layers", "window", "features", "units", "batch"):
        _positive(getattr(network, name))
    for way, speed in speeds.items():
        if way not in WAYS or not (speed is None or (isinstance(speed, (int, float)) and 0 < speed < 1e15)):
            raise ValueError(f"samples_per_s: {way} {speed}")
    if not isinstance(network.precision, str) or not isinstance(network.dropout, bool):
        raise ValueError("precision or dropout")
    return Measurement(network, speeds)


def _positive(value: Any) -> int:
    if type(value) is not int or not 0 < value < 2**31:
        raise ValueError(f"{value} where a number of things is expected")
    return value


def _interpolated(points: list[Measurement], way: str, units: int, batch: int) -> float | None:
    """Samples a second by one way, 0 where it is not possible; None: too far from what was measured."""
    if way == TILES:
        units = -(-units // TILE_UNITS) * TILE_UNITS
    known = sorted({one.network.units for one in points})
    if not known or not known[0] <= units <= known[-1]:
        return None
    below = max(one for one in known if one <= units)
    above = min(one for one in known if one >= units)
    ends = [_at_batch(points, way, one, batch) for one in (below, above)]
    speeds = [speed for speed in ends if speed is not None]
    if len(speeds) < len(ends):
        return None
    if min(speeds) == 0:
        return 0.0
    return _between(units, (below, above), speeds)


def _at_batch(points: list[Measurement], way: str, units: int, batch: int) -> float | None:
    """The same at measured units; at batches somewhat beyond those that were measured, as at the nearest."""
    speeds = {
        one.network.batch: one.samples_per_s[way] or 0.0 for one in points if one.network.units == units
    }
    known = sorted(speeds)
    if not known[0] <= batch * REACH or not batch <= known[-1] * REACH:
        return None
    below = max((one for one in known if one <= batch), default=known[0])
    above = min((one for one in known if one >= batch), default=known[-1])
    ends = [speeds[below], speeds[above]]
    return 0.0 if min(ends) == 0 else _between(batch, (below, above), ends)


def _between(size: int, sizes: tuple[int, int], speeds: list[float]) -> float:
    """The speed at a size between two, or beyond them that of the nearer one, on logarithmic scales."""
    return math.exp(np.interp(math.log(size), np.log(sizes), np.log(speeds)))
