"""The picture in the README: what the model is worth where there is structure and where not, and how fast.

Synthetic prices: 50 symbols x 1,500 days, whose best possible forecast is known: that of the oracle on the same test
windows. Real prices: the shipped ones. Both
by the settings of examples/quickstart.toml with 20 epochs, 3 seeds each. The speed is from results/peers.json.

    python benchmarks/overview.py       writes benchmarks/results/overview.json and docs/pictures/overview.png
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import machine

import hpc_lstm as hl
from hpc_lstm.report import figures

ROOT = Path(__file__).resolve().parents[1]
SEEDS = (1, 2, 3)
EPOCHS = 20
LABELS = {"oracle": "best possible", "model": "model", "persistence": "persistence"}
COLOURS = {
    "oracle": figures.GREEN,
    "model": figures.BLUE,
    "persistence": figures.RED,
}


def measure() -> dict[str, Any]:
    """Scaled errors on the test part, in which persistence has 1, by data and method; one a seed."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        synthetic = hl.synthesize(Path(folder) / "synthetic.h5", symbols=50, days=1500, seed=0)
        real = hl.read_prices(ROOT / "examples/data/us_stocks_2000_2013.csv.gz", Path(folder) / "real.h5")
        for name, store, price in (("synthetic", synthetic, "close"), ("real", real, "adj_close")):
            ratios: dict[str, list[float]] = {}
            for seed in SEEDS:
                run = hl.train(
                    ROOT / "examples/quickstart.toml",
                    ranks=2,
                    run_dir=Path(folder) / f"{name}-{seed}",
                    overrides={
                        "data.store": store,
                        "data.features": [f"log-returns({price})", "log-returns(volume)"],
                        "data.target": f"log-returns({price})",
                        "train.epochs": EPOCHS,
                        "train.seed": seed,
                    },
                )
                test = run.metrics.loc["test"]["rmsse"]
                for method in LABELS:
                    if method in test.index:
                        ratios.setdefault(method, []).append(float(test[method]))
            results[name] = ratios
    return results


def speeds() -> dict[str, list[float]]:
    """Samples per second of 2 ranks with batch 64 a rank, one a turn, by trainer."""
    peers = json.loads((ROOT / "benchmarks/results/peers.json").read_text())
    return {name: found["samples_per_s"] for name, found in peers["cases"]["2 ranks, batch 64"].items()}


def draw(results: dict[str, Any]) -> None:
    """Write the picture."""
    with figures.styled():
        figure = figures.new_figure(12, 3.0)
        axes = figure.subplots(1, 3, width_ratios=(1, 1, 0.9))
        for place, name, title in (
            (axes[0], "synthetic", "Where there is structure"),
            (axes[1], "real", "Real daily prices"),
        ):
            ratios = results[name]
            methods = [method for method in LABELS if method in ratios]
            for row, method in enumerate(methods):
                value = median(ratios[method])
                place.barh(row, value, color=COLOURS[method])
                place.text(value + 0.03, row, f"{value:.3f}", va="center", fontsize=9)
            place.set_yticks(range(len(methods)), [LABELS[method] for method in methods])
            place.invert_yaxis()
            place.axvline(1, color=figures.GREY, linewidth=0.8)
            place.set_xlim(0, 1.25)
            place.set_title(title)
            place.set_xlabel("scaled error (RMSSE) on test")
            place.grid(visible=False, axis="y")
        trainers = results["samples_per_second"]
        for row, (trainer, values) in enumerate(trainers.items()):
            value = median(values)
            axes[2].barh(row, value / 1e3, color=figures.BLUE if "hpc_lstm" in trainer else figures.GREY)
            axes[2].text(value / 1e3 * 1.02, row, f"{value / 1e3:.1f}", va="center", fontsize=9)
        axes[2].set_yticks(range(len(trainers)), list(trainers))
        axes[2].invert_yaxis()
        axes[2].margins(x=0.15)
        axes[2].set_title("Speed on two cores")
        axes[2].set_xlabel("thousand samples/s")
        axes[2].grid(visible=False, axis="y")
        figures.save(figure, ROOT / "docs/pictures/overview.png")


if __name__ == "__main__":
    found = {"machine": machine.describe(), **measure(), "samples_per_second": speeds()}
    machine.write_results("overview", found)
    draw(found)
