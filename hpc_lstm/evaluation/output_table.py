"""Each output's own metrics as plain text: point, interval and distribution, by target and horizon."""

from __future__ import annotations

from typing import Any

HEADINGS = ("rows ahead", "RMSE", "MAE", "MASE", "direction %", "coverage %", "width", "pinball", "CRPS")
WIDTHS = (12, 11, 11, 9, 20, 20, 11, 11, 11)


def output_lines(outputs: list[dict[str, Any]]) -> list[str]:
    """Lines of a table of a part's ``outputs`` in ``metrics.json``; none of an older file, which has none."""
    if not outputs:
        return []
    width = max(len(output["target"]) for output in outputs) + 2
    stated = [output["coverage"]["stated"] for output in outputs if output["coverage"]]
    lines = [f"  {'':<{width}}" + "".join(f"{h:>{w}}" for h, w in zip(HEADINGS, WIDTHS, strict=True))]
    for output in outputs:
        cells = (
            str(output["horizon"]),
            *(_number(output[key]) for key in ("rmse", "mae", "mase")),
            _share(output["direction"]),
            _share(output["coverage"]),
            *(_number(output[key]) for key in ("width", "pinball", "crps")),
        )
        texts = (f"{cell:>{w}}" for cell, w in zip(cells, WIDTHS, strict=True))
        lines.append(f"  {output['target']:<{width}}{''.join(texts)}")
    if stated:
        lines.append(f"  Intervals are to cover {stated[0]:.0%}. In brackets: 95 % intervals of the shares.")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _share(share: dict[str, Any] | None) -> str:
    if share is None or share["share"] is None:
        return "-"
    return f"{share['share']:.1%} [{share['low']:.1%}, {share['high']:.1%}]".replace("%", "")
