"""Tables, model and pictures of what ``scaling_gpus.py`` measured.

    PYTHONPATH=. python benchmarks/scaling_gpus_report.py scaling_gpus.json [--docs docs/performance.md]

Writes scaling_gpus.json, scaling_gpus-summary.json, scaling_gpus.png and scaling_gpus-averaging.png into
benchmarks/results, and the tables between the two marks of a page. Efficiency is over one GPU in the same repeat, with
the same averaging interval. torch counts where its step was a CUDA graph: other turns of a setting that has such turns
are left out, and a setting without any is marked and not compared. The model of ``hpc-lstm sweep`` is fitted to one and
two ranks, and its prediction for more is compared with what was measured; then to all.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from gpu_scaling.pictures import averaging_figure, efficiency_figure
from gpu_scaling.results import load
from gpu_scaling.summary import summarize
from gpu_scaling.tables import tables

from hpc_lstm.files import write_text
from hpc_lstm.report import figures

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- scaling_gpus: begin -->", "<!-- scaling_gpus: end -->"


def write_docs(path: Path, text: str) -> None:
    """Put the tables between the two marks of a page.

    Raises:
        SystemExit: it has no such marks.
    """
    page = path.read_text()
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise SystemExit(f"{path}: has no lines {BEGIN} and {END}")
    before, _, rest = page.partition(BEGIN)
    write_text(path, f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


def main() -> None:
    """Write everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measured", type=Path, help="what scaling_gpus.py wrote")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--docs", type=Path, help="a page with the two marks")
    options = parser.parse_args()
    summary = summarize(load(options.measured))
    if not summary["rows"]:
        raise SystemExit(f"{options.measured}: nothing was measured yet")
    text = tables(summary)
    options.results.mkdir(parents=True, exist_ok=True)
    target = options.results / "scaling_gpus.json"
    if options.measured.resolve() != target.resolve():
        shutil.copyfile(options.measured, target)
    write_text(options.results / "scaling_gpus-summary.json", json.dumps(summary, indent=1) + "\n")
    with figures.styled():
        for draw, name in ((efficiency_figure, "scaling_gpus"), (averaging_figure, "scaling_gpus-averaging")):
            figure = draw(summary["rows"])
            named = {
                label: handle
                for axes in figure.axes
                for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
            }
            if named:
                figure.legend(named.values(), named, loc="outside right upper")
            figures.save(figure, options.results / f"{name}.png")
    if options.docs:
        write_docs(options.docs, text)
    print(text)


if __name__ == "__main__":
    main()
