"""The style of all figures, and how they are written: colours, axes, file formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_lstm.errors import InputError, printable
from hpc_lstm.files import make_parent, whole_file
from hpc_lstm.timing.timeline import PHASES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008): distinguishable with any common type of colour vision.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY, VIOLET = "#999999", "#8B62B5"
# Seen on white and on the report's dark page alike: no black.
PHASE_COLOURS = dict(zip(PHASES, (GREY, SKY, BLUE, GREEN, ORANGE, RED, PINK, YELLOW, VIOLET), strict=True))
SUFFIXES = (".png", ".svg", ".pdf")
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "svg.fonttype": "none",  # keep text as text: smaller, and searchable
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
}


@contextmanager
def styled() -> Iterator[None]:
    """Apply the style of all figures during the block, in which figures are created and written.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise InputError('plots need matplotlib: pip install "hpc-lstm[report]"') from None
    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: float = 9.0, height: float = 4.5) -> Figure:
    """An empty figure, sizes in inches; not registered with pyplot, so that it is freed with its last reference.

    A notebook shows it as the value of a cell.
    """
    from hpc_lstm.report.notebook_figure import NotebookFigure

    return NotebookFigure(figsize=(width, height), layout="constrained")


def plain(text: str) -> str:
    """A symbol or another name as matplotlib shows it: ``$`` begins no formula, and control characters are escaped."""
    return printable(text).replace("$", r"\$")


def set_title(axes: Axes, text: str) -> None:
    """Set a title that may hold a symbol or a name."""
    axes.set_title(plain(text))


def check_suffix(path: Path) -> None:
    """Refuse a file name of an unknown format before any work is done.

    Raises:
        InputError: the suffix is not one of ``SUFFIXES``.
    """
    if path.suffix.lower() not in SUFFIXES:
        found = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise InputError(f"{path}: has {found}; a picture is written as {', '.join(SUFFIXES)}")


def save(figure: Figure, path: Path) -> None:
    """Write a figure, completely or not at all, and its folder; PNG with 150 dots per inch.

    Raises:
        InputError: as ``check_suffix``; or the file cannot be written.
    """
    check_suffix(path)
    kind = path.suffix.lower()[1:]
    with whole_file(make_parent(path)) as temporary:
        figure.savefig(temporary, format=kind, dpi=150, metadata=_no_date(kind))


def _no_date(kind: str) -> dict[str, None]:
    return {} if kind == "png" else {"Date": None} if kind == "svg" else {"CreationDate": None}
