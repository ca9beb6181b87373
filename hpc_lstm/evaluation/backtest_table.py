"""The figures of a backtest as a table, with what they leave out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hpc_lstm.evaluation.backtest import FEWEST_BETS
from hpc_lstm.evaluation.positions import POSITION_RULES

HEADER = ("", "return %", "volatility %", "Sharpe", "+/-", "drawdown %", "turnover %", "invested %")
METHODS = {"model": "model", "buy_and_hold": "buy and hold"}
LEFT_OUT = (
    "Return, volatility and Sharpe ratio are a year's, +/- is the ratio's standard error, turnover a date's, invested "
    "the mean size of positions. Left out: dividends, taxes, interest, the cost of being short, and what orders do to "
    "prices. Not investment advice."
)


@dataclass(frozen=True)
class BacktestTable:
    """What a backtest came to.

    Attributes:
        title: what was traded on, and how.
        header, rows: cells.
        notes: sentences on how to read them.
    """

    title: str
    header: tuple[str, ...]
    rows: list[list[str]]
    notes: list[str]

    @classmethod
    def of(cls, found: dict[str, Any]) -> BacktestTable:
        """The table of what ``backtest`` gave; an older version's has neither "rule" nor "invested"."""
        rule = POSITION_RULES[found.get("rule", "sign")]
        notes = []
        if found["model"].get("invested") == 0:
            notes.append("No forecast was sure enough for a position: there was nothing to earn or to lose.")
        if found["independent_bets"] < FEWEST_BETS:
            notes.append(
                f"It rests on {found['independent_bets']} independent bets only, fewer than {FEWEST_BETS}: it says "
                "nothing."
            )
        return cls(
            f"backtest on test: {rule.words}, {found['cost_bps']:g} basis points a change of position, "
            f"{'long and short' if found['short'] else 'long only'}, {found['dates']:,} dates",
            HEADER,
            [[title, *_cells(found[name])] for name, title in METHODS.items()],
            [*notes, LEFT_OUT],
        )

    def text(self) -> str:
        """The table as plain text."""
        widths = [18, *(len(heading) + 2 for heading in self.header[1:])]
        lines = [self.title]
        for first, *cells in (self.header, *self.rows):
            padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
            lines.append(f"  {first:<{widths[0]}}{''.join(padded)}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def _cells(figures: dict[str, Any]) -> list[str]:
    return [
        f"{100 * figures['annual_return']:.1f}",
        f"{100 * figures['volatility']:.1f}",
        _number(figures["sharpe"]),
        _number(figures["sharpe_standard_error"]),
        f"{100 * figures['maximum_drawdown']:.1f}",
        f"{100 * figures['turnover']:.1f}",
        f"{100 * figures['invested']:.1f}" if "invested" in figures else "-",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
