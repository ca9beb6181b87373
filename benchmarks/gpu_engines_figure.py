"""Draw what ``engines.py --gpu`` measured: samples a second of the fused engine and of torch, by units and batch.

python benchmarks/gpu_engines_figure.py        # results/gpu_engines.json -> results/gpu_engines.png
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpc_lstm.report import figures

RESULTS = Path(__file__).with_name("results")
PEERS = {"fused": ("hpc_lstm", figures.BLUE), "torch": ("torch (cuDNN, CUDA graph)", figures.GREY)}
BESIDE = {"bfloat16": "bfloat16", "float32": "float32, torch in TF32"}
WIDTH = 0.4


def draw(cases: list[dict[str, Any]]) -> Any:
    """A panel for each precision and batch, with bars of both peers for each number of units."""
    precisions = list(dict.fromkeys(case["precision"] for case in cases))
    batches = list(dict.fromkeys(case["batch"] for case in cases))
    figure = figures.new_figure(3.4 * len(batches), 2.7 * len(precisions))
    panels = figure.subplots(len(precisions), len(batches), squeeze=False)
    for row, precision in zip(panels, precisions, strict=True):
        for axes, batch in zip(row, batches, strict=True):
            here = [case for case in cases if (case["precision"], case["batch"]) == (precision, batch)]
            rates = {
                name: [statistics.median(case["samples_per_s"][name]) / 1e6 for case in here]
                for name in PEERS
            }
            for number, (name, (label, colour)) in enumerate(PEERS.items()):
                places = [place + WIDTH * (number - 0.5) for place in range(len(here))]
                axes.bar(places, rates[name], WIDTH, color=colour, label=label)
            for place, (ours, torch) in enumerate(zip(rates["fused"], rates["torch"], strict=True)):
                axes.annotate(
                    f"{ours / torch:.{1 if ours > torch else 2}f} x",
                    (place, max(ours, torch)),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                )
            axes.set_xticks(range(len(here)), [str(case["units"]) for case in here])
            axes.set_title(f"{BESIDE[precision]}, batch {batch:,}", fontsize=9)
            axes.margins(y=0.15)
    panels[0][-1].legend(fontsize=8, frameon=False)
    figure.supxlabel("units of each of 2 layers", fontsize=10)
    figure.supylabel("million samples a second", fontsize=10)
    return figure


def main() -> None:
    cases = json.loads((RESULTS / "gpu_engines.json").read_text())["cases"]
    figures.save(draw(cases), RESULTS / "gpu_engines.png")


if __name__ == "__main__":
    main()
