"""What a fetch did, for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hpc_lstm.text.counts import counted

_EACH = 30  # symbols that get a line of their own


@dataclass
class FetchSummary:
    """What a call of ``fetch_prices`` did.

    Attributes:
        rows: number in the store, by symbol that was asked for and is in it.
        dropped: rows of the answers without a usable close, by symbol. added: rows that are new, by symbol.
        resumed: symbols that an interrupted call had fetched.
        unchanged: symbols that were up to date.
        anew: symbols that were fetched anew as their history had changed, with what showed it.
        missing: symbols for which Yahoo has no prices, with the reason.
        failed: symbols that were not answered or contradict the store, with the reason.
        others: number of symbols in the store that were not asked for.
        written: whether the store was written.
    """

    path: Path
    rows: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    added: dict[str, int] = field(default_factory=dict)
    resumed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    anew: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    others: int = 0
    written: bool = False

    def table(self) -> str:
        """The summary as plain text."""
        lines = self._symbols() if len(self.rows) <= _EACH else self._totals()
        if self.others:
            lines.append(f"{counted(self.others, 'other symbol')} in the store, not asked for")
        if self.anew:
            lines.append(f"fetched again, as history changed: {counted(len(self.anew), 'symbol')}")
            lines += [f"  {name}: {reason}" for name, reason in self.anew.items()]
        for title, names in (("no prices", self.missing), ("to be asked for again", self.failed)):
            if names:
                lines.append(f"{title}: {counted(len(names), 'symbol')}")
                lines += [f"  {reason}: {', '.join(group)}" for reason, group in _by_reason(names).items()]
        return "\n".join([*lines, f"wrote {self.path}" if self.written else f"{self.path} is up to date"])

    def warning(self) -> str | None:
        """One line on symbols that did not come; None if all did."""
        parts = []
        if self.missing:
            parts.append(f"no prices for {shortened(list(self.missing))}")
        if self.failed:
            parts.append(f"not fetched: {shortened(list(self.failed))}; the same command asks for them again")
        return "; ".join(parts) or None

    def _symbols(self) -> list[str]:
        width = max([len("symbol"), *(len(name) for name in self.rows)])
        lines = [f"{'symbol':<{width}}{'rows':>10}{'new':>10}{'dropped':>9}"]
        for name, rows in self.rows.items():
            note = "  fetched earlier" if name in self.resumed else ""
            note = "  up to date" if name in self.unchanged else note
            numbers = f"{rows:>10,}{self.added.get(name, 0):>10,}{self.dropped.get(name, 0):>9,}"
            lines.append(f"{name:<{width}}{numbers}{note}")
        return lines

    def _totals(self) -> list[str]:
        facts = [
            ("symbols", len(self.rows)),
            ("  up to date before", len(self.unchanged)),
            ("  fetched by an earlier call", len(self.resumed)),
            ("rows", sum(self.rows.values())),
            ("  new", sum(self.added.values())),
            ("rows dropped, without a close", sum(self.dropped.values())),
        ]
        return [f"{name:<32}{number:>14,}" for name, number in facts]


def shortened(names: list[str], at_most: int = 8) -> str:
    """Names separated by commas, the first few of many."""
    more = f" and {len(names) - at_most:,} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more


def _by_reason(names: dict[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, reason in names.items():
        groups.setdefault(reason, []).append(name)
    return groups
