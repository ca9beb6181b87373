"""The section [data]: which prices, and how they become windows."""

from __future__ import annotations

import itertools
import re
from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hpc_lstm.config.section import (
    FREE_ON_RESUME,
    LARGEST,
    SHARED_BY_CLUSTERS,
    SHARED_UNLESS_DEFAULT,
    Fraction,
    Positive,
    Section,
    in_words,
)

# Targets times horizons: the head of the network, and all its forecasts of a window.
MOST_OUTPUTS = 64
# Features that are points on a circle, which take a sine and a cosine.
CIRCLES = ("weekday", "month", "day-of-year")


class DataConfig(Section):
    """Which prices, and how they become windows."""

    store: str = Field(
        description="Path of the market store (HDF5); relative to the config file.",
        json_schema_extra=FREE_ON_RESUME,
    )
    symbols: Literal["all"] | list[str] = Field("all", description='Symbols to train on, or "all".')
    features: list[str] = Field(
        ["log-returns(adjusted)"],
        description='Model inputs: `"NAME"`, a store column, and what is computed from columns and dates, such as '
        '`"log-returns(NAME)"`, row over row (`"log-returns"`: of close), `"sma(NAME, length)"`, a moving average, and '
        '`"weekday"`, a sine and a cosine: [features](features.md) has them all. `adjusted` stands for `adj_close`, or '
        "for `close` in a store that has none.",
        json_schema_extra=SHARED_BY_CLUSTERS,
    )
    target: str | list[str] = Field(
        "log-returns(adjusted)",
        description='What is forecast, one or a list: `"NAME"`, a store column; `"log-returns(NAME)"` '
        '(`"log-returns"`: of close), the log return over the horizon, turned back into a price for the metrics; '
        '`"direction(NAME)"`, the probability that the price rises over the horizon; `"volatility(NAME)"`, the root '
        "mean square of its log returns over the horizon. A raw price leaves the range that the scaling was "
        "fitted on. See [features](features.md#targets).",
        json_schema_extra=SHARED_BY_CLUSTERS,
    )
    horizon: Positive | list[Positive] | str = Field(
        1,
        description="Rows (trading days) from the window's last row to the target. Several, `[1, 5, 20]` or "
        '`"1..20"`: the network has an output for each, and forecasts all at once.',
        json_schema_extra=SHARED_BY_CLUSTERS,
    )
    window: Positive = Field(
        60, description="Rows (trading days) in one input window.", json_schema_extra=SHARED_BY_CLUSTERS
    )
    split: list[Fraction] | list[str] = Field(
        [0.7, 0.15, 0.15],
        description="Shares of train, validation and test, which sum to 1; or the first day of validation and the "
        'first day of test: `["2010-01-01", "2012-01-01"]`.',
    )
    split_by: Literal["date", "symbol"] = Field(
        "date",
        description="What the shares divide. `date`: the days on which there is a target, the same for all symbols, so "
        "that every forecast of validation and test is made when all training days are past. `symbol`: each "
        "symbol's own windows, as version 0.1.0 did; symbols are then trained on days on which others are tested.",
    )
    embargo: int = Field(
        0,
        ge=0,
        lt=LARGEST,
        description="Days that have a target and are left out at the end of train and of validation, as a gap before "
        "what follows; whole days of intraday prices, too. For a split by date.",
    )
    train_from: str = Field(
        "", description="First day of a train target, such as `2005-01-01`; empty: the earliest."
    )
    until: str = Field("", description="Last day of a test target; empty: the latest.")
    scaling: Literal["minmax", "standard"] = Field(
        "standard",
        description="Per symbol and column, fitted on train rows: zero mean and unit variance, or min-max.",
        json_schema_extra=SHARED_BY_CLUSTERS,
    )
    feature_range: list[float] = Field(
        [0.0, 1.0],
        min_length=2,
        max_length=2,
        description="Range that min-max scaling maps the train rows to.",
        json_schema_extra=SHARED_BY_CLUSTERS,
    )

    unusable: Literal["refuse", "leave-out"] = Field(
        "refuse",
        description="What happens to symbols with an unusable value: missing, infinite, or not "
        "above 0 where a log return is taken. `refuse` names them all, before the first step; `leave-out` trains "
        "without them.",
        json_schema_extra=SHARED_UNLESS_DEFAULT,
    )
    shard: str = Field(
        "",
        pattern=r"^([1-9][0-9]{0,5}/[1-9][0-9]{0,5})?$",
        description='This cluster\'s share of the symbols where several share a store: "1/2" is the first of two, '
        "every second symbol; empty: all.",
        json_schema_extra=in_words('a share such as "1/2", the first of two'),
    )

    @field_validator("split", "train_from", "until", mode="before")
    @classmethod
    def _dates_as_text(cls, value: Any) -> Any:
        """TOML has dates of its own: ``split = [2010-01-01, 2012-01-01]``."""
        if isinstance(value, list):
            return [each.isoformat() if isinstance(each, date) else each for each in value]
        return value.isoformat() if isinstance(value, date) else value

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, tables: Any) -> Any:
        """Features that take several columns: a circle of the calendar, and a one-hot code of the symbols."""
        features = tables.get("features") if isinstance(tables, dict) else None
        if not isinstance(features, list):
            return tables
        symbols, expanded = tables.get("symbols", "all"), []
        for name in features:
            if name in CIRCLES:
                expanded += [f"{name}-sine", f"{name}-cosine"]
            elif name == "symbol" and isinstance(symbols, list):
                expanded += [f"symbol({each})" for each in symbols]
            elif name == "symbol":
                raise ValueError('features: "symbol" has a column for each symbol; name them in data.symbols')
            else:
                expanded.append(name)
        return {**tables, "features": expanded}

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if self.shard and int(self.shard.split("/")[0]) > int(self.shard.split("/")[1]):
            raise ValueError(f'shard: "{self.shard}" is not a share; the first number is at most the second')
        self._check_split()
        for name in ("train_from", "until"):
            if day := getattr(self, name):
                _check_date(name, day)
        by_date = ("embargo", "train_from", "until")
        if self.split_by == "symbol" and (given := [name for name in by_date if getattr(self, name)]):
            raise ValueError(f'{given[0]}: is for a split by date; remove it, or split_by = "symbol"')
        if self.feature_range[0] >= self.feature_range[1]:
            raise ValueError(f"feature_range: must be [low, high] with low < high, got {self.feature_range}")
        if not self.store.strip() or "\0" in self.store:
            raise ValueError("store: must name a file")
        self._check_horizons()
        for name, chosen in (
            ("symbols", self.symbols),
            ("features", self.features),
            ("target", self.targets),
        ):
            if not chosen:
                hint = ', or "all"' if name == "symbols" else ""
                raise ValueError(f"{name}: name at least one{hint}")
            twice = [c for c in chosen if chosen != "all" and chosen.count(c) > 1]
            if twice:
                raise ValueError(f'{name}: "{twice[0]}" is named twice')
        return self

    @property
    def targets(self) -> list[str]:
        """What is forecast, each at every one of the horizons."""
        return [self.target] if isinstance(self.target, str) else self.target

    @property
    def horizons(self) -> list[int]:
        """Rows from a window's last row to its targets, ascending."""
        if isinstance(self.horizon, str):
            first, last = _range_ends(self.horizon)
            return list(range(first, last + 1))
        return [self.horizon] if isinstance(self.horizon, int) else self.horizon

    @property
    def longest_horizon(self) -> int:
        """Rows from a window's last row to its last target."""
        return self.horizons[-1]

    def _check_horizons(self) -> None:
        if isinstance(self.horizon, str):
            first, last = _range_ends(self.horizon)
            if not 1 <= first <= last:
                raise ValueError(
                    f'horizon: "{self.horizon}" is not a range; write it like "1..20", ascending from at least 1'
                )
        elif not self.horizons or any(a >= b for a, b in itertools.pairwise(self.horizons)):
            raise ValueError(f"horizon: must be ascending, such as [1, 5, 20], got {self.horizon}")
        if (outputs := len(self.targets) * len(self.horizons)) > MOST_OUTPUTS:
            raise ValueError(f"horizon: at most {MOST_OUTPUTS} targets times horizons, got {outputs}")

    @property
    def split_shares(self) -> list[float] | None:
        """Shares of train, validation and test; None where ``split`` has dates."""
        shares = [share for share in self.split if isinstance(share, float)]
        return shares or None

    @property
    def split_dates(self) -> list[str] | None:
        """First day of validation and of test; None where ``split`` has shares."""
        dates = [day for day in self.split if isinstance(day, str)]
        return dates or None

    def _check_split(self) -> None:
        shares, dates = self.split_shares, self.split_dates
        if shares is not None:
            if len(shares) != 3:
                raise ValueError(f"split: must be 3 shares, of train, validation and test, got {self.split}")
            if abs(sum(shares) - 1) > 1e-6:
                raise ValueError(f"split: must sum to 1, got {self.split} (sum {sum(shares):g})")
            if shares[0] <= 0:
                raise ValueError("split: the first share (train) must be above 0")
            return
        if dates is None or len(dates) != 2:
            raise ValueError(
                "split: must be 3 shares, or 2 dates, the first day of validation and of test, "
                f"got {self.split}"
            )
        for day in dates:
            _check_date("split", day)
        if dates[0] > dates[1]:
            raise ValueError(f"split: validation must begin before test, got {self.split}")
        if self.split_by == "symbol":
            raise ValueError('split: dates are the same for all symbols; remove split_by = "symbol"')


def _range_ends(text: str) -> tuple[int, int]:
    """First and last number of a range such as "1..20"; 0 and 0 where it is none."""
    match = re.fullmatch(r"\s*([0-9]{1,4})\s*\.\.\s*([0-9]{1,4})\s*", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _check_date(key: str, day: str) -> None:
    try:
        date.fromisoformat(day)
    except ValueError:
        raise ValueError(f'{key}: "{day}" is not a date; write it like "2012-01-31"') from None
