"""Labels of logarithmic axes."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hpc_lstm.report.log_ticks import Magnitudes


@pytest.mark.parametrize(
    ("limits", "powers", "between"),
    [
        ((95, 410), {"100"}, {"200", "300", "400"}),
        ((7e3, 2.5e5), {"10k", "100k"}, {"20k", "30k", "40k", "60k", "200k"}),
        ((9e4, 4e7), {"100k", "1M", "10M"}, set()),
    ],
)
def test_numbers_read_as_in_a_table(limits: tuple[float, float], powers: set[str], between: set[str]) -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.set_yscale("log")
    axes.set_ylim(*limits)
    axes.yaxis.set_major_formatter(Magnitudes())
    axes.yaxis.set_minor_formatter(Magnitudes(between=True))
    FigureCanvasAgg(figure).draw()
    for minor, wanted in ((False, powers), (True, between)):
        places, labels = axes.get_yticks(minor=minor), axes.get_yticklabels(minor=minor)
        shown = {
            label.get_text()
            for place, label in zip(places, labels, strict=True)
            if limits[0] <= place <= limits[1]
        }
        assert shown - {""} == wanted
