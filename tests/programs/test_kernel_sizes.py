"""The shared memory that a plan asks for holds ``struct Shared`` of the kernels that it is cut for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hpc_lstm.cuda import compiler
from hpc_lstm.cuda.nvrtc import Nvrtc
from hpc_lstm.model.engines.cuda import plan as cuda_plan
from hpc_lstm.model.engines.cuda.sources import Sources
from hpc_lstm.model.engines.head import Head

# Of an H100, by blocks of a cluster.
CLUSTERS = {1: 132, 2: 66, 3: 39, 4: 30, 5: 22, 6: 17, 7: 15, 8: 15, 16: 7}
# units, batch, layers, parts, dropout, features
NETWORKS = [
    (1, 1, 1, 1, True, 3),
    (16, 8, 2, 2, True, 3),
    (24, 16, 8, 1, True, 2),
    (40, 33, 3, 1, True, 17),
    (40, 33, 3, 2, False, 17),
    (64, 64, 2, 1, True, 5),
    (64, 64, 2, 2, True, 5),
    (64, 1024, 2, 1, True, 5),
    (64, 1024, 2, 2, False, 5),
    (64, 3000, 2, 1, True, 4),
    (64, 9000, 3, 2, True, 4),
    (100, 19, 1, 2, True, 43),
    (128, 64, 2, 1, True, 5),
    (128, 64, 3, 2, False, 5),
    (128, 64, 8, 1, True, 5),
    (128, 600, 2, 1, True, 5),
    (128, 2000, 2, 1, False, 5),
    (160, 37, 2, 2, True, 4),
    (256, 50, 2, 1, True, 4),
    (256, 200, 2, 1, True, 4),
    (256, 50, 2, 2, True, 4),
    (512, 70, 2, 1, True, 4),
    (320, 64, 1, 2, True, 20),
    (512, 900, 2, 2, False, 17),
]
# And without clusters, with compute capability and multiprocessors.
OLDER_CARDS = [
    ((8, 0), 108, (160, 37, 2, 1, True, 4)),
    ((8, 0), 108, (256, 8192, 2, 1, True, 4)),
    ((8, 0), 108, (512, 64, 2, 1, True, 17)),
    ((8, 0), 108, (512, 3000, 2, 2, True, 4)),
    ((8, 0), 108, (320, 200, 1, 2, False, 20)),
    ((8, 0), 14, (300, 64, 2, 2, True, 4)),
    ((8, 6), 28, (512, 500, 2, 1, True, 4)),
    ((8, 6), 84, (128, 2000, 2, 2, True, 4)),
    ((8, 9), 128, (512, 2000, 2, 2, True, 4)),
]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_chains_have_room(nvrtc: Nvrtc, network: tuple[int, int, int, int, bool, int]) -> None:
    has_room(nvrtc, network, (9, 0), CLUSTERS.__getitem__)


@pytest.mark.parametrize(("capability", "multiprocessors", "network"), OLDER_CARDS, ids=str)
def test_chains_without_clusters_have_room(
    nvrtc: Nvrtc,
    capability: tuple[int, int],
    multiprocessors: int,
    network: tuple[int, int, int, int, bool, int],
) -> None:
    has_room(nvrtc, network, capability, lambda size: multiprocessors if size == 1 else 0)


def has_room(
    nvrtc: Nvrtc,
    network: tuple[int, int, int, int, bool, int],
    capability: tuple[int, int],
    clusters: Callable[[int], int],
) -> None:
    units, batch, layers, parts, dropout, features = network
    plan = cuda_plan.plan(
        units,
        features,
        batch,
        layers=layers,
        parts=parts,
        dropout=dropout,
        capability=capability,
        clusters=clusters,
        large=False,
    )
    assert plan is not None
    sources = Sources(plan, layers, dropout, Head.to_forecast(1))
    for name, defines in {str(one): one for one in sources.all()}.values():
        ways = {"forward": plan.forward, "backward": plan.backward}
        if cut := ways.get(name.removeprefix("lstm_").removeprefix("exchange_")):
            path = compiler.kernel_source(name)
            check = f'\nstatic_assert(sizeof(Shared) <= {cut.shared}, "struct Shared");\n'.encode()
            options = [*(f"-D{key}={value}" for key, value in defines.items()), "-fdevice-syntax-only"]
            architecture = "sm_{}{}".format(*capability)
            nvrtc.compile(
                path.read_bytes() + check, path.name, architecture, options, compiler.included_headers(path)
            )
