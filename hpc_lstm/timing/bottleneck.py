"""The bottleneck of a run and which setting to try, from where its ranks' time went after start-up.

A saving is stated only where it follows from the measured times: what is done every n steps costs half as much if it
is done every 2n. How much a faster step would save cannot be derived from a timing, only the most that everything else
could save (Amdahl's law).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpc_lstm.config import AGREE_STEPS, RunConfig
from hpc_lstm.timing.spans import Timing
from hpc_lstm.timing.straggler import RUNNING, Arrivals, Straggler, running_seconds
from hpc_lstm.timing.timeline import PHASES

# If start-up took more than this share of a run, the rest does not represent a longer one.
TOO_SHORT = 0.5
# A straggler is the bottleneck if the run would be at least this much shorter without its delays.
STRAGGLER = 0.1
# Phases that no setting makes less frequent.
EVERY_STEP = ("compute", "preprocess", "evaluate")
# A suggestion is made if it saves at least this share of the time after start-up.
WORTH_TRYING = 0.03
# What is done at intervals is made less frequent until it takes this share of the time, ...
TARGET = 0.05
# ... but at most by this factor.
LARGEST_FACTOR = 16
MEANING = {
    "preprocess": "cutting and scaling the windows",
    "compute": "the training itself",
    "average": "averaging the ranks' weights",
    "wait": "ranks waiting for one another",
    "sync": "exchanging weights with other clusters",
    "checkpoint": "saving the state",
    "evaluate": "evaluating the model on validation and test",
}


@dataclass(frozen=True)
class Suggestion:
    """A setting to try, and the share of the time after start-up that it would save."""

    text: str
    saving: float


def bottleneck_note(
    timing: Timing,
    found: Arrivals,
    straggler: Straggler | None,
    config: RunConfig | None,
    steps_per_epoch: int | None = None,
) -> str:
    """One sentence on what the bottleneck of a run is, and what to try.

    Args:
        config: the run's settings; None: not known, so that the sentence gives no values for them.
        steps_per_epoch: None: not known, so that epochs are taken to be long.
    """
    whole, running = timing.rank_seconds().sum(), running_seconds(timing)
    total = running.sum()
    if whole == 0:
        return "The run took no measurable time."
    startup = 1 - total / whole
    too_short = (
        f"The run is too short to determine its bottleneck: start-up and loading took {startup:.0%} of it"
    )
    if total == 0:
        return f"{too_short}."
    share = dict(zip(PHASES, running.sum(axis=0) / total, strict=True))
    most = max(RUNNING, key=lambda phase: share[phase])
    if total < (1 - TOO_SHORT) * whole:
        return f"{too_short}; {share[most]:.0%} of the rest was spent in {most}."

    # What the bottleneck is: a straggler, a phase, or none.
    delays = 0.0 if straggler is None else _share_of_delays(straggler, found, timing)
    if straggler is not None and delays >= STRAGGLER:
        parts = [
            f"The bottleneck is {straggler.name}: without its delays the time after start-up would be up to "
            f"{delays:.0%} shorter"
        ]
        alternative = None
    elif share[most] >= 0.5:
        parts = [f"The bottleneck is {most} ({MEANING[most]}): {share[most]:.0%} of the time after start-up"]
        alternative = None if most in EVERY_STEP else _no_suggestion(most)
        if most in EVERY_STEP:
            parts.append(_remedy(most, share))
    else:
        parts = [
            f"No single phase is the bottleneck; the largest, {most} ({MEANING[most]}), takes {share[most]:.0%} of "
            "the time after start-up"
        ]
        alternative = _no_suggestion(most)

    # What to try: the setting that saves most, if that is enough to mention.
    suggestions = _suggestions(timing, share, found, straggler, config, steps_per_epoch)
    best = max(suggestions, key=lambda suggestion: suggestion.saving, default=Suggestion("", 0.0))
    if best.saving >= WORTH_TRYING:
        parts.append(best.text)
    elif alternative is not None:
        parts.append(alternative)
    return "; ".join(parts) + "."


def _share_of_delays(straggler: Straggler, found: Arrivals, timing: Timing) -> float:
    """By what share at most the time after start-up would be shorter without the straggler's delays.

    A rank's delay is measured against the last but one, which may be of the same node. A node's is therefore what the
    ranks of other nodes waited.
    """
    ranks, own = len(timing.ranks), len(straggler.places)
    lead = float(found.lead_s[straggler.places].sum())
    if own > 1:
        lead = float(found.caused_s[straggler.places].sum()) / (ranks - own)
    return lead * ranks / float(running_seconds(timing).sum())


def _suggestions(
    timing: Timing,
    share: dict[str, float],
    found: Arrivals,
    straggler: Straggler | None,
    config: RunConfig | None,
    steps_per_epoch: int | None,
) -> list[Suggestion]:
    """The settings that would save time."""
    average = config.average.every if config is not None else None
    clusters = config is not None and bool(config.sync.cluster)
    suggestions = []
    # Ranks average after each epoch and at the end in any case.
    if len(timing.ranks) > 1 and average not in ("epoch", 0):
        proviso = " in averaging alone, if the model tolerates it"
        proviso += "; rounds of clusters become less frequent by the same factor" if clusters else ""
        suggestions.append(_less_often("average.every", average, share["average"], proviso, steps_per_epoch))
    if straggler is None and isinstance(average, int) and 0 < average <= AGREE_STEPS // 2 and found.decided:
        suggestions.append(_cancel_delays(average, found, timing, steps_per_epoch))
    if share["checkpoint"] > 0:
        checkpoint = config.checkpoint.every if config is not None else None
        proviso = ", but a killed run loses as much more work"
        suggestions.append(_less_often("checkpoint.every", checkpoint, share["checkpoint"], proviso))
    if config is not None and clusters and share["sync"] > 0:
        if not config.sync.overlap:
            saving = min(share["sync"], 1 - share["sync"])
            text = (
                f"try sync.overlap = true, which keeps training while rounds close: saves up to {saving:.0%}"
            )
            suggestions.append(Suggestion(text, saving))
        elif config.sync.every:
            proviso = ", if the model tolerates it"
            suggestions.append(_less_often("sync.every", config.sync.every, share["sync"], proviso))
    return [suggestion for suggestion in suggestions if suggestion.saving > 0]


def _cancel_delays(average: int, found: Arrivals, timing: Timing, steps_per_epoch: int | None) -> Suggestion:
    """Average less often, where ranks take turns at being late.

    Independent delays between two barriers add up as the square root of their number, the barriers in proportion to
    it.
    """
    every = average * min(4, AGREE_STEPS // average)
    factor = _frequency(every, steps_per_epoch) / _frequency(average, steps_per_epoch)
    saving = float(found.caused_s.sum() / running_seconds(timing).sum()) * (1 - math.sqrt(factor))
    text = (
        f"try average.every = {every} instead of {average}: ranks take turns at being late, so that their delays would "
        f"partly cancel, which saves about {saving:.0%}"
    )
    return Suggestion(text, saving)


def _frequency(every: int, steps_per_epoch: int | None) -> float:
    """The share of steps that are a multiple of ``every`` or the last of their epoch."""
    if not steps_per_epoch:
        return 1 / every
    both = math.gcd(every, steps_per_epoch) / every  # share of the epochs whose last step is such a multiple
    return 1 / every + (1 - both) / steps_per_epoch


def _less_often(
    key: str, every: int | str | None, share: float, proviso: str, steps_per_epoch: int | None = None
) -> Suggestion:
    """Increase an interval until what is done then takes ``TARGET`` of the time.

    Args:
        every: the present interval; None: not known.
        share: of the time that it takes now.
        steps_per_epoch: given for what is also done after each epoch.
    """

    def remaining(factor: int) -> float:
        if steps_per_epoch and isinstance(every, int):
            return share * _frequency(every * factor, steps_per_epoch) / _frequency(every, steps_per_epoch)
        return share / factor

    factor = 2
    while factor < LARGEST_FACTOR and remaining(factor) > TARGET * (1 - share + remaining(factor)):
        factor *= 2
    saving = share - remaining(factor)
    if isinstance(every, int):
        change = f"{key} = {every * factor} instead of {every}"
    elif every == "epoch":
        change = f"{key} = the number of steps in {factor} epochs"
    else:
        change = f"{key} {factor} times as large"
    return Suggestion(f"try {change}: saves about {saving:.0%}{proviso}", saving)


def _remedy(phase: str, share: dict[str, float]) -> str:
    """What helps against one of ``EVERY_STEP``."""
    if phase == "compute":
        return (
            f"removing everything else would save at most {1 - share['compute']:.0%}, so the way to save more is "
            "faster steps (more ranks, or a larger train.batch_size if a step does not fill the device; measure it)"
        )
    if phase == "preprocess":
        return 'with more ranks each does less of it, and with a GPU train.backend = "cuda" does it there'
    return "smaller validation and test parts in data.split take less time"


def _no_suggestion(phase: str) -> str:
    """What to say about a phase when no setting saves enough."""
    if phase == "wait":
        return "the last arrivals do not explain it, so look at the trace"
    if phase == "sync":
        return "`hpc-lstm rounds` shows which clusters wait for which"
    return "no known setting would save enough"
