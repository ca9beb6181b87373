"""Which kernels train fastest on this GPU? Measures the table that the package brings along for such cards.

    python benchmarks/gpu_speeds.py [--units 64,128] [--batches 64,1024] [--precisions bfloat16] [--seconds 50]
                                    [--ways keras] [--out FILE]

As ``hpc-lstm doctor --tune`` does, but into a file of the package, for all users of such a card. What is in the file
already stays, unless it is measured again. A run that ends early, after ``--seconds``, has written what it measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpc_lstm.cuda.device import Device
from hpc_lstm.files import whole_file
from hpc_lstm.jobs import gpu_speeds
from hpc_lstm.model.engines.cuda.choice import card_of, possible_plans
from hpc_lstm.model.engines.measure_speeds import measure_speeds
from hpc_lstm.model.engines.speed_files import SHIPPED
from hpc_lstm.model.engines.speed_table import KERNELS, WAYS, SpeedTable
from hpc_lstm.model.engines.tensorflow_runtime import keras_has_gpu
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.world import World


def numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--units", type=numbers, default=[64, 128, 192, 256, 320, 384, 448, 512])
    parser.add_argument("--batches", type=numbers, default=list(gpu_speeds.BATCHES))
    parser.add_argument("--precisions", default="bfloat16")
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="default: all that can be measured here")
    parser.add_argument("--out", type=Path, help="the table; default: the package's for this card")
    parser.add_argument("--seconds", type=float, default=1e9, help="no network is begun later")
    options = parser.parse_args()
    begin = time.monotonic()
    gpu.assign_gpu(World())
    device = Device()
    card = card_of(device)
    ways = tuple(options.ways or (WAYS if keras_has_gpu(0, deterministic=False) else KERNELS))
    path = options.out or SHIPPED / f"{card.name.replace(' ', '-')}.json"
    table = SpeedTable(card.name, card.capability, card.multiprocessors)
    if path.is_file():
        table = SpeedTable.from_json(path.read_text("utf-8"))
    for config in gpu_speeds.networks_to_measure(None, options.units, options.batches):
        if config.train.precision not in options.precisions.split(","):
            continue
        if time.monotonic() - begin > options.seconds:
            print("out of time")
            break
        if ways == KERNELS and len(possible_plans(config, device)) < 2:
            continue
        measured = measure_speeds(config, ways)
        table = table.merged([measured])
        print(gpu_speeds.title(config), gpu_speeds.speeds_text(measured), flush=True)
        with whole_file(path) as temporary:
            temporary.write_text(table.to_json(), "utf-8")
    print(f"{path}: {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
