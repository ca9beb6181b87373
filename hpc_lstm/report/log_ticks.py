"""Labels of logarithmic axes that read as the tables beside them do: 200, 10k, 3M."""

from __future__ import annotations

from matplotlib.ticker import EngFormatter, LogFormatter


class Magnitudes(LogFormatter):
    """Labels where matplotlib puts them, as it does without powers of ten.

    Args:
        between: label 2, 3, 4 and 6 as well, of the powers of ten, where the axis spans less than two of them. For the
            minor ticks.
    """

    def __init__(self, *, between: bool = False) -> None:
        super().__init__(minor_thresholds=(2, 0.5) if between else None)
        self._magnitude = EngFormatter(sep="")

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self._magnitude.format_eng(x) if super().__call__(x, pos) else ""
