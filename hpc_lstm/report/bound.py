"""What bounds a run, and which setting to try: from where its ranks' time went after start-up.

A gain is stated where it follows from the measured times: what is done every n steps costs half as much if it is done
every 2n. What a faster step would gain cannot be told from a timing, only what is left to gain beside it (Amdahl).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpc_lstm.config import RunConfig
from hpc_lstm.pace import MEETING_STEPS
from hpc_lstm.report.spans import Timing
from hpc_lstm.report.straggler import RUNNING, Arrivals, Straggler, running_seconds
from hpc_lstm.timing import PHASES

# A run whose start-up took more than this share of it says nothing of longer ones.
TOO_SHORT = 0.5
# A lever is named if it makes the run at least this much shorter.
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
    """What to try, and by what share of the time after start-up the run would be shorter."""

    text: str
    gain: float


def verdict(timing: Timing, found: Arrivals, straggler: Straggler | None, config: RunConfig | None) -> str:
    """One sentence: what bounds the run, and what to try.

    Args:
        config: its settings; None: not known, so that no numbers are given for them.
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
    text = (
        f"{most.capitalize()} ({MEANING[most]}) bounds the run, {share[most]:.0%} of the time after start-up"
    )
    if share[most] < 0.5:
        text = f"No phase alone bounds the run; the largest, {most} ({MEANING[most]}), takes {share[most]:.0%} of the"
        text += " time after start-up"
    levers = sorted(_levers(timing, share, found, straggler, config), key=lambda lever: -lever.gain)
    if most in ("compute", "preprocess", "evaluate"):
        text += f"; {_by_itself(most, share, config)}"
    if levers and levers[0].gain >= WORTH:
        text += f"; try {levers[0].text}"
    elif most not in ("compute", "preprocess", "evaluate"):
        text += f"; {_unchangeable(most)}"
    return text + "."


def _levers(
    timing: Timing,
    share: dict[str, float],
    found: Arrivals,
    straggler: Straggler | None,
    config: RunConfig | None,
) -> list[Lever]:
    """What a setting, or another node, would gain."""
    ranks = len(timing.ranks)
    total = running_seconds(timing).sum()
    levers = []
    average = config.average.every if config is not None else None
    if ranks > 1 and average not in (
        "epoch",
        0,
    ):  # after each epoch, and at the end, they average in any case
        rounds = (
            ", with rounds of clusters as much rarer" if config is not None and config.sync.cluster else ""
        )
        levers.append(_rarer("average.every", average, share["average"], f"if the model bears it{rounds}"))
    if straggler is not None:
        gain = float(found.lead_s[straggler.places].sum()) * ranks / total
        text = (
            f"{straggler.name} on another node: without its delays the run would be up to {gain:.0%} shorter"
        )
        levers.append(Lever(text, gain))
    elif isinstance(average, int) and 0 < average <= MEETING_STEPS // 2 and found.decided:
        # Delays that are independent add up as the square root of their number, meetings as their number.
        factor = min(4, MEETING_STEPS // average)
        caused = float(found.caused_s.sum()) / total
        gain = caused * (1 - 1 / math.sqrt(factor))
        text = (
            f"average.every = {average * factor} instead of {average}: ranks are late by turns, so that their delays "
            f"would cancel in part and the run be about {gain:.0%} shorter"
        )
        levers.append(Lever(text, gain))
    if share["checkpoint"] > 0:
        every = config.checkpoint.every if config is not None else None
        more = "with as much more to do again after a kill"
        levers.append(_rarer("checkpoint.every", every, share["checkpoint"], more))
    if config is not None and config.sync.cluster and share["sync"] > 0:
        if not config.sync.overlap:
            gain = min(share["sync"], 1 - share["sync"])
            text = f"sync.overlap = true, which trains on while rounds close: up to {gain:.0%} shorter"
            levers.append(Lever(text, gain))
        elif config.sync.every:
            levers.append(_rarer("sync.every", config.sync.every, share["sync"], "if the model bears it"))
    return [lever for lever in levers if lever.gain > 0]


def _rarer(key: str, every: int | str | None, share: float, proviso: str) -> Lever:
    """Do something every so many more steps, rounds or averages that it takes ``TARGET`` of the time."""
    factor = 2
    while factor < RARER and share / factor > TARGET * (1 - share + share / factor):
        factor *= 2
    gain = share * (1 - 1 / factor)
    if isinstance(every, int):
        text = f"{key} = {every * factor} instead of {every}: about {gain:.0%} shorter"
    elif every == "epoch":
        text = f"{key} = the steps of {factor} epochs instead of one: about {gain:.0%} shorter"
    else:
        text = f"a {key} {factor} times as large: about {gain:.0%} shorter"
    return Lever(f"{text}, {proviso}", gain)


def _by_itself(phase: str, share: dict[str, float], config: RunConfig | None) -> str:
    """What remains for a phase that no setting makes rarer."""
    if phase == "compute":
        ways = ["more ranks", "a larger train.batch_size where a step does not fill the device"]
        if config is not None and config.train.precision == "float32":
            ways.append('on a GPU train.precision = "bfloat16"')
        return (
            f"all else together could gain {1 - share['compute']:.0%} at most, so that only a faster step does more "
            f"({', '.join(ways)}: a try must tell how much)"
        )
    if phase == "preprocess":
        return 'more ranks share it, and with a GPU train.backend = "cuda" takes it over'
    return "smaller validation and test parts in data.split take less of it"


def _unchangeable(phase: str) -> str:
    """What to say of a phase for which no setting is known to gain enough."""
    if phase == "wait":
        return "no one rank causes it, so the trace must tell when it arises"
    if phase == "sync":
        return "`hpc-lstm rounds` tells who waits for whom"
    return "no setting is known to gain enough to be worth a try"
