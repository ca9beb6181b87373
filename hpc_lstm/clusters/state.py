"""What a cluster remembers of the rounds from one start to the next: the part of a checkpoint that is about them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PendingContribution:
    """A contribution whose round is still open.

    Attributes:
        weights: float32 [P], the cluster's weights when it contributed.
        samples: windows that it had trained on in all by then.
        payload: SHA-256 of the vector that was put; "" while it is not known.
    """

    weights: np.ndarray
    samples: int
    payload: str = ""


@dataclass
class ClusterState:
    """How far a cluster has come in the rounds.

    Attributes:
        round: newest round whose weights it has adopted; 0 is the initial weights.
        base: float32 [P], the weights of that round, from which its change is counted.
        samples: windows that it has trained on in all whose change was counted or dropped.
        staleness: rounds that closed without it since its change was last counted.
        pending: its contribution to the next round, if it has made one.
        residual: float32 [P], the rounding error of what was counted in bfloat16, to be added to the next contribution;
            empty in float32.
        dropped: windows whose change was dropped.
        finished: its final contribution has been counted.
        run: digest of the run's manifest; "" before it has joined, and in checkpoints of version 0.1.
        result: digest of the result of ``round``, which the next round must build on; that of the manifest in round 0.
    """

    round: int = 0
    base: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    samples: int = 0
    staleness: int = 0
    pending: PendingContribution | None = None
    residual: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    dropped: int = 0
    finished: bool = False
    run: str = ""
    result: str = ""

    def while_contributing(self, weights: np.ndarray, samples: int) -> ClusterState:
        """The state to save while ``Rounds.synchronize`` runs: the contribution may or may not have been put."""
        return replace(self, pending=self.pending or PendingContribution(weights, samples))

    def state_dict(self) -> dict[str, Any]:
        """The state as arrays, numbers and texts, by the names that they have in a checkpoint."""
        state: dict[str, Any] = {
            "number": self.round,
            "base": self.base,
            "samples": self.samples,
            "staleness": self.staleness,
            "residual": self.residual,
            "lost": self.dropped,
            "departed": int(self.finished),
            "run": self.run,
            "result": self.result,
        }
        if self.pending is not None:
            state |= {
                "sent/weights": self.pending.weights,
                "sent/samples": self.pending.samples,
                "sent/payload": self.pending.payload,
            }
        return state

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> ClusterState:
        """The state that ``state_dict`` returned."""
        pending = None
        if "sent/weights" in state:
            pending = PendingContribution(
                weights=np.asarray(state["sent/weights"]),
                samples=int(state["sent/samples"]),
                payload=str(state["sent/payload"]),
            )
        return cls(
            round=int(state["number"]),
            base=np.asarray(state["base"]),
            samples=int(state["samples"]),
            staleness=int(state["staleness"]),
            pending=pending,
            residual=np.asarray(state["residual"]),
            dropped=int(state["lost"]),
            finished=bool(state["departed"]),
            run=str(state.get("run", "")),
            result=str(state.get("result", "")),
        )
