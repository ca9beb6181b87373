"""One sentence on whether a model beats persistence."""

from __future__ import annotations

from typing import Any

from hpc_lstm.evaluation.baselines.registry import METHODS

# Share of chance findings that a claim of "better" may be: the usual 5%.
SIGNIFICANT = 0.05
# A difference of RMSE below this share is none to speak of, however sure.
SAME = 5e-4


def verdict(table: dict[str, Any], name: str) -> str:
    """One sentence that says whether the model beats persistence in a part, and how sure that is.

    Args:
        table: a part's metrics: ``rmse`` of each method, and ``against_persistence``.
        name: the part's name.
    """
    model, persistence = (table[method]["rmse"] for method in ("model", "persistence"))
    p, dates = (table["against_persistence"][key] for key in ("p_value", "dates"))
    chance = "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    if model is None:
        return (
            f"On {name} the model's forecasts are not finite: training diverged; try a lower learning rate."
        )
    numbers = f"RMSE {model:.5g} against {persistence:.5g}"
    if abs(model - persistence) <= SAME * persistence:
        return f"On {name} the model does not beat persistence: {numbers}, the same within {SAME:.2%}."
    if persistence:
        numbers += f", {abs(model / persistence - 1):.1%} {'lower' if model < persistence else 'higher'}"
    if model > persistence:
        sure = f", and that is no chance ({chance})" if p is not None and p < SIGNIFICANT else ""
        return f"On {name} the model does not beat persistence: {numbers}{sure}."
    if p is None:
        claim, doubt = (
            "it is too early to say that the model beats persistence",
            f"but over {dates} dates only",
        )
        return f"On {name} {claim}: {numbers}, {doubt}."
    if p >= SIGNIFICANT:
        claim, doubt = (
            "there is no evidence that the model beats persistence",
            f"which may be chance ({chance})",
        )
        return f"On {name} {claim}: {numbers}, {doubt}."
    others = [
        f"{method} (RMSE {table[method]['rmse']:.5g})"
        for method in METHODS[1:]
        if method != "persistence" and table.get(method, {}).get("rmse") is not None
        if table[method]["rmse"] <= model
    ]
    but = f"; it does not beat {' or '.join(others)}" if others else ""
    return f"On {name} the model beats persistence: {numbers} ({chance}){but}."
