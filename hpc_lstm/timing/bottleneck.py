"""What bounds a run, and which setting to try: from where its ranks' time went after start-up.

A gain is stated where it follows from the measured times: what is done every n steps costs half as much if it is done
every 2n. What a faster step would gain cannot be told from a timing, only what is left to gain beside it (Amdahl).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpc_lstm.config import AGREE_STEPS, RunConfig
from hpc_lstm.timing.spans import Timing
from hpc_lstm.timing.straggler import RUNNING, Arrivals, Straggler, running_seconds
from hpc_lstm.timing.timeline import PHASES

# A run whose start-up took more than this share of it says nothing of longer ones.
TOO_SHORT = 0.5
# A straggler bounds the run if it would be at least this much shorter without it.
STRAGGLER = 0.1
# Phases that no setting makes rarer.
BY_ITSELF = ("compute", "preprocess", "evaluate")
# A lever is named if it saves at least this share of the time after start-up.
WORTH = 0.03
# What is done every so often is made rarer until it costs this share, ...
TARGET = 0.05
# ... but not by more than this factor.
RARER = 16
MEANING = {
    "preprocess": "cutting and scaling the windows",
    "compute": "the training itself",
    "average": "exchanging weights",
    "wait": "ranks waiting for one another",
    "sync": "meeting other clusters",
    "checkpoint": "writing the state",
    "evaluate": "measuring the model on validation and test",
}


@dataclass(frozen=True)
class Lever:
    """What to try, and what share of the time after start-up it would save."""

    text: str
    gain: float


def verdict(
    timing: Timing,
    found: Arrivals,
    straggler: Straggler | None,
    config: RunConfig | None,
    steps_per_epoch: int | None = None,
) -> str:
    """One sentence: what bounds the run, and what to try.

    Args:
        config: its settings; None: not known, so that no numbers are given for them.
        steps_per_epoch: None: not known, so that epochs are taken to be long.
    """
    whole, running = timing.rank_seconds().sum(), running_seconds(timing)
    total = running.sum()
    if whole == 0:
        return "The run took no time that could be measured."
    if total < (1 - TOO_SHORT) * whole:
        text = f"The run is too short to tell what bounds it: start-up and loading took {1 - total / whole:.0%} of it"
        if total == 0:
            return text + "."
        share = dict(zip(PHASES, running.sum(axis=0) / total, strict=True))
        most = max(RUNNING, key=lambda phase: share[phase])
        return f"{text}; of the rest, {share[most]:.0%} went into {most}."
    share = dict(zip(PHASES, running.sum(axis=0) / total, strict=True))
    most = max(RUNNING, key=lambda phase: share[phase])
    if share[most] < 0.5:
        bound = f"No phase alone bounds the run; the largest, {most} ({MEANING[most]}), takes {share[most]:.0%} of"
    else:
        bound = f"{most.capitalize()} ({MEANING[most]}) bounds the run, {share[most]:.0%} of"
    told = [f"{bound} the time after start-up"]
    delays = 0.0 if straggler is None else _gain_of(straggler, found, timing)
    held_up = straggler is not None and delays >= STRAGGLER
    if straggler is not None and held_up:
        name = straggler.name[0].upper() + straggler.name[1:]
        told = [
            f"{name} bounds the run: without its delays the time after start-up would be up to {delays:.0%} less"
        ]
    elif most in BY_ITSELF and share[most] >= 0.5:
        told.append(_by_itself(most, share))
    levers = _levers(timing, share, found, straggler, config, steps_per_epoch)
    best = max(levers, key=lambda lever: lever.gain, default=Lever("", 0.0))
    if best.gain >= WORTH:
        told.append(best.text)
    elif len(told) == 1 and not held_up:
        told.append(_unchangeable(most))
    return "; ".join(told) + "."


def _gain_of(straggler: Straggler, found: Arrivals, timing: Timing) -> float:
    """By what share at most the time after start-up would be shorter without its delays.

    A rank's are those against the next to come, which may be of the same node: a node's are what others waited.
    """
    ranks, own = len(timing.ranks), len(straggler.places)
    lead = float(found.lead_s[straggler.places].sum())
    if own > 1:
        lead = float(found.caused_s[straggler.places].sum()) / (ranks - own)
    return lead * ranks / float(running_seconds(timing).sum())


def _levers(
    timing: Timing,
    share: dict[str, float],
    found: Arrivals,
    straggler: Straggler | None,
    config: RunConfig | None,
    steps_per_epoch: int | None,
) -> list[Lever]:
    """What settings would gain."""
    average = config.average.every if config is not None else None
    levers = []
    # After each epoch, and at the end, they average in any case.
    if len(timing.ranks) > 1 and average not in ("epoch", 0):
        clusters = config is not None and config.sync.cluster
        proviso = " by averaging alone, if the model bears it"
        proviso += ", with rounds of clusters as much rarer" if clusters else ""
        levers.append(_rarer("average.every", average, share["average"], proviso, steps_per_epoch))
    if straggler is None and isinstance(average, int) and 0 < average <= AGREE_STEPS // 2 and found.decided:
        every = average * min(4, AGREE_STEPS // average)
        # Delays that are independent add up as the square root of their number, meetings as their number.
        rarer = _times(every, steps_per_epoch) / _times(average, steps_per_epoch)
        gain = float(found.caused_s.sum() / running_seconds(timing).sum()) * (1 - math.sqrt(rarer))
        text = (
            f"try average.every = {every} instead of {average}: ranks are late by turns, so that their delays would "
            f"cancel in part, which makes about {gain:.0%} less"
        )
        levers.append(Lever(text, gain))
    if share["checkpoint"] > 0:
        checkpoint = config.checkpoint.every if config is not None else None
        proviso = ", with as much more to do again after a kill"
        levers.append(_rarer("checkpoint.every", checkpoint, share["checkpoint"], proviso))
    if config is not None and config.sync.cluster and share["sync"] > 0:
        if not config.sync.overlap:
            gain = min(share["sync"], 1 - share["sync"])
            text = f"try sync.overlap = true, which trains on while rounds close: up to {gain:.0%} less"
            levers.append(Lever(text, gain))
        elif config.sync.every:
            levers.append(_rarer("sync.every", config.sync.every, share["sync"], ", if the model bears it"))
    return [lever for lever in levers if lever.gain > 0]


def _times(every: int, steps_per_epoch: int | None) -> float:
    """How often a step is one of every so many or the last of its epoch, as a share of all steps."""
    if not steps_per_epoch:
        return 1 / every
    both = (
        math.gcd(every, steps_per_epoch) / every
    )  # share of the epochs whose last step is one of every so many
    return 1 / every + (1 - both) / steps_per_epoch


def _rarer(
    key: str, every: int | str | None, share: float, proviso: str, steps_per_epoch: int | None = None
) -> Lever:
    """Do something every so many more steps, rounds or averages that it takes ``TARGET`` of the time.

    Args:
        steps_per_epoch: given for what is done after each epoch, too.
    """

    def left(factor: int) -> float:
        if steps_per_epoch and isinstance(every, int):
            return share * _times(every * factor, steps_per_epoch) / _times(every, steps_per_epoch)
        return share / factor

    factor = 2
    while factor < RARER and left(factor) > TARGET * (1 - share + left(factor)):
        factor *= 2
    gain = share - left(factor)
    if isinstance(every, int):
        text = f"try {key} = {every * factor} instead of {every}: about {gain:.0%} less"
    elif every == "epoch":
        text = f"try {key} = the steps of {factor} epochs instead of one: about {gain:.0%} less"
    else:
        text = f"try {key} {factor} times as large: about {gain:.0%} less"
    return Lever(text + proviso, gain)


def _by_itself(phase: str, share: dict[str, float]) -> str:
    """What remains for one of ``BY_ITSELF``."""
    if phase == "compute":
        return (
            f"all else together could gain {1 - share['compute']:.0%} at most, so that only a faster step "
            "does more (more ranks, a larger train.batch_size where a step does not fill the device: "
            "a try must tell how much)"
        )
    if phase == "preprocess":
        return 'more ranks share it, and with a GPU train.backend = "cuda" takes it over'
    return "smaller validation and test parts in data.split take less of it"


def _unchangeable(phase: str) -> str:
    """What to say of a phase for which no setting is known to gain enough."""
    if phase == "wait":
        return "what causes it is not told by who arrived last, so look at the trace"
    if phase == "sync":
        return "`hpc-lstm rounds` tells who waits for whom"
    return "no setting is known that would save enough"
