"""Trains, but somebody closes round 2 with weights that are nowhere: ``lose_a_round.py FOLDER OPTIONS...``.

FOLDER is that of the run in the store, OPTIONS are those of ``train``. Patience is cut from a minute to a moment.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hpc_lstm import cli
from hpc_lstm.clusters import documents, rounds
from hpc_lstm.clusters.signing import Seal

FOLDER, OPTIONS = Path(sys.argv[1]), sys.argv[2:]
rounds.LEAST_PATIENCE_S = 0.5
meet = rounds.Rounds.meet


def lose(self: rounds.Rounds, *arguments: Any, **options: Any) -> rounds.Wanted:
    """The real meeting, before which another cluster has closed the round."""
    key = documents.merged_key(2)
    if self.standing.number == 1 and not (FOLDER / key).exists():
        nowhere = documents.Payload(sha256="0" * 64)
        member = documents.Member(cluster="beta", samples=1, staleness=0, payload="0" * 64)
        lost = documents.Merged(
            round=2, members=[member], departed=[], samples=1, payload=nowhere, momentum=None
        )
        (FOLDER / key).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / key).write_bytes(documents.write(lost, key, Seal()))
    return (yield from meet(self, *arguments, **options))


rounds.Rounds.meet = lose  # type: ignore[method-assign]
cli.main(["train", *OPTIONS])
