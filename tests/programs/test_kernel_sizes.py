"""The shared memory that a plan asks for holds ``struct Shared`` of the kernels that it is cut for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from code_facts import Case, CodeFacts, first_compiler

from hpc_lstm.cuda import compiler
from hpc_lstm.errors import HpcLstmError
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


Network = tuple[int, int, int, int, bool, int]
# The compiler tells the size as it refuses a type that it does not know.
TELL_SIZE = b"\ntemplate <unsigned long> struct SizeOf;\n__device__ SizeOf<sizeof(Shared)> size_of_shared;\n"


def shared_size(path: Path, defines: compiler.Defines, architecture: str) -> int:
    """Bytes of ``struct Shared`` of a source file."""
    options = [*(f"-D{key}={value}" for key, value in defines.items()), "-fdevice-syntax-only"]
    source, headers = path.read_bytes() + TELL_SIZE, compiler.included_headers(path)
    with pytest.raises(HpcLstmError) as refused:
        first_compiler().compile(source, path.name, architecture, options, headers)
    told = re.search(r"error: incomplete type \"SizeOf<(\d+)", str(refused.value))
    assert told, refused.value
    return int(told[1])


SIZES = CodeFacts(Path(__file__).with_name("shared_sizes.json"), shared_size, TELL_SIZE.decode())


def planned(
    network: Network, capability: tuple[int, int], clusters: Callable[[int], int]
) -> list[tuple[Case, int]]:
    """The sources of a network's chains, and the bytes of shared memory that its plan gives each."""
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
    ways = {"forward": plan.forward, "backward": plan.backward}
    found = []
    for name, defines in {
        str(one): one for one in Sources(plan, layers, dropout, Head.to_forecast(1)).all()
    }.values():
        if cut := ways.get(name.removeprefix("lstm_").removeprefix("exchange_")):
            case = (compiler.kernel_source(name), defines, "sm_{}{}".format(*capability))
            found.append((case, cut.shared))
    return found


def with_clusters(network: Network) -> list[tuple[Case, int]]:
    return planned(network, (9, 0), CLUSTERS.__getitem__)


def without_clusters(
    capability: tuple[int, int], multiprocessors: int, network: Network
) -> list[tuple[Case, int]]:
    return planned(network, capability, lambda size: multiprocessors if size == 1 else 0)


def all_cases() -> list[Case]:
    found = [with_clusters(network) for network in NETWORKS] + [
        without_clusters(*card) for card in OLDER_CARDS
    ]
    return [case for chains in found for case, _ in chains]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_chains_have_room(network: Network) -> None:
    have_room(with_clusters(network))


@pytest.mark.parametrize(("capability", "multiprocessors", "network"), OLDER_CARDS, ids=str)
def test_chains_without_clusters_have_room(
    capability: tuple[int, int], multiprocessors: int, network: Network
) -> None:
    have_room(without_clusters(capability, multiprocessors, network))


def have_room(chains: list[tuple[Case, int]]) -> None:
    for case, shared in chains:
        assert SIZES.of(*case) <= shared, case
