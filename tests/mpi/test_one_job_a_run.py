"""One job a run directory: two at once are refused, a killed one is followed."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from launcher import kill, launch_waiting, program, start, wait_until
from small_job import write_config


def test_a_second_job_in_a_run_directory_is_refused_and_a_killed_one_followed(tmp_path: Path) -> None:
    config, run = write_config(tmp_path, epochs=100_000, checkpoint_every=50), tmp_path / "run"
    command = program("train", str(config), "--run-dir", str(run))
    first = start(1, command)
    try:
        wait_until(lambda: any(run.glob("checkpoints/main/*/checkpoint.json")), first)
        history = (run / "history.jsonl").read_text()
        second = launch_waiting(1, [*command, "--resume"])
        assert second.returncode == 2, second.stdout
        assert "a job on " in second.stderr
        assert "choose another --run-dir, or stop that job" in second.stderr
        assert len(second.stderr.strip().splitlines()) == 1
        assert (run / "history.jsonl").read_text().startswith(history)
    finally:
        kill(first)
        first.communicate()
    third = start(0, [*program("--debug"), *command[len(program()) :], "--resume"])
    log = run / "log" / "rank-00000.log"
    wait_until(lambda: "resuming from the checkpoint" in log.read_text(), third)
    while third.poll() is None:
        # As Slurm and service managers do; it must not kill the program on its way out.
        third.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    out, err = third.communicate()
    assert third.returncode == 75, out + err
    assert "whether its previous owner is alive" not in err, (
        "a dead process of this machine is not waited for"
    )
