"""Labels of logarithmic axes that read as the tables beside them do: 200, 10k, 3M."""

from __future__ import annotations

from matplotlib.ticker import EngFormatter, LogFormatter


class Magnitudes(LogFormatter):
    """Numbers with a prefix of magnitude, at the ticks that matplotlib would label.

    Args:
        between: for the minor ticks: some of those between the powers of ten are labelled, where the axis spans less
            than two of them.
    """

    def __init__(self, *, between: bool = False) -> None:
        super().__init__(minor_thresholds=(2, 0.5) if between else None)
        self._magnitude = EngFormatter(sep="")

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self._magnitude.format_eng(x) if super().__call__(x, pos) else ""
