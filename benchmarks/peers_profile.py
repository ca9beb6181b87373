"""Where does the time of hpc_lstm and of its peers go? Shares of the processors' samples during a turn of ``peers.py``.

    python benchmarks/peers_profile.py        # needs Linux's perf, and the right to sample the whole machine

Each case runs by itself, once, with ``peers.py``'s environments (``--cache``, made if they are not there). The machine
is sampled for some seconds in the middle of the turn that counts.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe, write_results

# Peer, windows a rank, windows of the turn: enough for a dozen seconds.
CASES = [
    ("hpc_lstm", 16, 2**17),
    ("keras_fit", 64, 3 * 2**13),
    ("multi_worker", 16, 2**14),
    ("multi_worker", 256, 3 * 2**14),
    ("torch_ddp", 16, 2**15),
    ("torch_ddp", 256, 2**15),
]
SECONDS, HERTZ = 5, 199
LEAST_SHARE = 0.01


def profile(peer: str, batch: int, samples: int, cache: str) -> dict[str, float]:
    """Shares of the samples by library; "compiled" is code that was made at run time and has no name."""
    with tempfile.TemporaryDirectory(prefix="hpc_lstm-profile-") as folder:
        work, data = Path(folder, "work"), Path(folder, "perf.data")
        command = [
            sys.executable,
            str(Path(__file__).with_name("peers.py")),
            "--only",
            peer,
            "--repeats",
            "1",
        ]
        command += ["--batches", str(batch), "--samples", str(samples), "--cache", cache]
        turn = subprocess.Popen(
            [*command, "--work", str(work), "--results", folder], stdout=subprocess.DEVNULL
        )
        while turn.poll() is None and not counting(work):
            time.sleep(0.1)
        time.sleep(1)
        record = ["perf", "record", "-a", "-F", str(HERTZ), "-o", str(data), "--", "sleep", str(SECONDS)]
        subprocess.run(record, check=True, capture_output=True)
        if turn.poll() is not None:
            raise SystemExit(f"{peer}: ended before it was sampled; raise its number of windows")
        turn.wait()
        report = ["perf", "report", "-i", str(data), "--stdio", "--sort", "dso"]
        said = subprocess.run(report, check=True, capture_output=True, text=True).stdout
    shares: dict[str, float] = {}
    for percent, name in re.findall(r"^ +([0-9.]+)% +(.*?) *$", said, re.MULTILINE):
        known = "compiled" if name.startswith("[JIT]") else name.split(" (")[0].removeprefix("memfd:")
        shares[known] = round(shares.get(known, 0) + float(percent) / 100, 4)
    return {name: share for name, share in shares.items() if share >= LEAST_SHARE}


def counting(work: Path) -> bool:
    """True once the turn that counts has begun."""
    return any('"validate": true' in path.read_text() for path in work.glob("*/commands/*.json"))


def main() -> None:
    """Sample all cases and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", default=".venv-peers", help="environments of the peers")
    options = parser.parse_args()
    if shutil.which("perf") is None:
        raise SystemExit("perf is not installed")
    found = {}
    for peer, batch, samples in CASES:
        found[f"{peer}, batch {batch}"] = shares = profile(peer, batch, samples, options.cache)
        print(f"{peer}, batch {batch}: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    write_results("peers_profile", {"machine": describe(), "seconds": SECONDS, "shares": found})


if __name__ == "__main__":
    main()
