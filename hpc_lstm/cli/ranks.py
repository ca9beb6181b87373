"""The MPI ranks on which a command runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hpc_lstm.parallel.stop_signals import StopSignals
    from hpc_lstm.parallel.world import World


@contextmanager
def connected_world(signals: StopSignals | None = None, *, if_launched: bool = False) -> Iterator[World]:
    """The MPI world around a command's body; an exception on one rank ends all ranks.

    Args:
        signals: what has been asked of this process until now, if it has listened.
        if_launched: see ``launch.connect_if_launched``.
    """
    from hpc_lstm.parallel import launch

    world = launch.connect_if_launched() if if_launched else launch.connect(signals=signals)
    with world.abort_on_error(debug=_debug()):
        yield world


def _debug() -> bool:
    return bool(click.get_current_context().find_root().params["debug"])
