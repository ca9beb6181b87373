"""Trains, but somebody closes round 2 with weights that are nowhere: ``lose_a_round.py FOLDER OPTIONS...``.

FOLDER is that of the run in the store, OPTIONS are those of ``train``. The minute of recovery is cut to a moment.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hpc_lstm import cli
from hpc_lstm.clusters import documents, recovery
from hpc_lstm.clusters.adopting import RoundUpdate
from hpc_lstm.clusters.rounds import Rounds
from hpc_lstm.clusters.steps import Steps
from hpc_lstm.storage.signing import Signer

FOLDER, OPTIONS = Path(sys.argv[1]), sys.argv[2:]
recovery.MIN_RECOVERY_S = 0.5
synchronize = Rounds.synchronize


def lose(self: Rounds, *arguments: Any, **options: Any) -> Steps[RoundUpdate]:
    """The real method, before which another cluster has closed the round."""
    key = documents.result_key(2)
    if self.state.round == 1 and not (FOLDER / key).exists():
        nowhere = documents.Payload(sha256="0" * 64)
        member = documents.Member(cluster="beta", samples=1, staleness=0, payload="0" * 64)
        lost = documents.RoundResult(
            round=2, members=[member], departed=[], samples=1, payload=nowhere, momentum=None
        )
        (FOLDER / key).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / key).write_bytes(documents.encode_document(lost, key, Signer()))
    return (yield from synchronize(self, *arguments, **options))


Rounds.synchronize = lose  # type: ignore[method-assign]
cli.main(["train", *OPTIONS])
