"""In words, whether a model beats the best simple forecast, how sure that is, and what more could be had."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hpc_lstm.evaluation.baselines.registry import METHODS, ORACLE

# Share of chance findings that a claim of "better" may be: the usual 5%.
SIGNIFICANT = 0.05
# A difference of the scaled error below this share is none to speak of, however sure.
SAME = 5e-4


def rivals(methods: Iterable[str]) -> list[str]:
    """Those of a table's methods that the model is to beat, in order: all but itself and the oracle."""
    there = set(methods)
    return [method for method in METHODS if method in there and method not in ("model", ORACLE)]


def verdict(table: dict[str, Any], name: str) -> str:
    """Whether the model beats the best baseline in a part, how sure that is, and on how many symbols, in words.

    Args:
        table: a part's metrics: ``rmsse`` of each method, and ``against_best``.
        name: the part's name.
    """
    model = table["model"]["rmsse"]
    against = table["against_best"]
    best = against["baseline"]
    least = table[best]["rmsse"]
    if least is None:
        return f"On {name} no price changed, so that there is nothing to forecast."
    if model is None:
        return (
            f"On {name} the model's forecasts are not finite: training diverged; try a lower learning rate."
        )
    sentences = [_against_best(model, least, best, against, name)]
    symbols = against["symbols"]
    if symbols["compared"] > 1:
        sentences.append(_over_symbols(symbols, best))
    if best != "persistence":
        sentences.append(_persistence(table["persistence"]["rmsse"] / model - 1) if model else "")
    if "reached_gain" in table:
        sentences.append(_reachable(table))
    return " ".join(filter(None, sentences))


def _against_best(model: float, least: float, best: str, against: dict[str, Any], name: str) -> str:
    p, dates = against["p_value"], against["dates"]
    chance = "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    rival = best if best == "persistence" else f"the best simple forecast, {best}"
    if abs(model - least) <= SAME * least:
        return f"On {name} the model does not beat {rival}: their errors are the same within {SAME:.2%}."
    if model > least:
        more = f"its error is {model / least - 1:.1%} larger" if least else "that one makes no error"
        sure = f", by more than chance explains ({chance})" if p is not None and p < SIGNIFICANT else ""
        return f"On {name} the model does not beat {rival}: {more}{sure}."
    less = f"its error is {1 - model / least:.1%} smaller"
    if p is None:
        return f"On {name} it is too early to say that the model beats {rival}: {less}, but over {dates} dates only."
    if p >= SIGNIFICANT:
        return f"On {name} there is no evidence that the model beats {rival}: {less}, which may be chance ({chance})."
    return f"On {name} the model beats {rival}: {less}, by more than chance explains ({chance})."


def _over_symbols(symbols: dict[str, Any], best: str) -> str:
    surely, worse = symbols["better_holm"], symbols["worse_holm"]
    sentence = (
        f"It is better than {best} on {symbols['better']:,} of {symbols['compared']:,} symbols, "
        f"by more than chance on {surely if surely else 'none'}"
    )
    return f"{sentence}, and worse by more than chance on {worse:,}." if worse else f"{sentence}."


def _reachable(table: dict[str, Any]) -> str:
    reached, oracle = table["reached_gain"], table[ORACLE]["rmsse"]
    if reached is None:
        return "Nobody could do better than persistence on these prices."
    return (
        f"The best that anyone could do on these synthetic prices has an error {1 - oracle:.1%} smaller than "
        f"persistence; the model reached {max(reached, 0.0):.0%} of that gain."
    )


def _persistence(more: float) -> str:
    if abs(more) <= SAME:
        return f"Persistence's error is the model's within {SAME:.2%}."
    return f"Persistence's error is {abs(more):.1%} {'larger' if more > 0 else 'smaller'} than the model's."
