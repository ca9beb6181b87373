"""Writing checkpoints: the state of all ranks, off the training thread, whole or not at all.

Each rank's bytes are made on the training thread, where all ranks also exchange their hashes. A background thread
then puts them into the object store. That of rank 0 waits until the files of all ranks are there, puts the manifest
that makes them a checkpoint, and deletes what need not be kept. No MPI is used off the training thread.
"""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

from hpc_lstm import config as configuration
from hpc_lstm.config import CheckpointConfig, RunConfig, StorageConfig
from hpc_lstm.errors import CheckpointError, from_os_error
from hpc_lstm.sync import manifest as manifests
from hpc_lstm.sync.manifest import Manifest, RankFile
from hpc_lstm.sync.objects import ObjectStore
from hpc_lstm.sync.retry import retry
from hpc_lstm.sync.state_file import pack
from hpc_lstm.world import World

# How rank 0 looks for the other ranks' files: often at first, then less.
FIRST_LOOK_S, LONGEST_LOOK_S = 0.02, 2.0


def holds_checkpoints(store: ObjectStore, prefix: str) -> bool:
    """True if there is a whole checkpoint under ``prefix``."""
    return bool(manifests.steps(store, prefix))


class CheckpointWriter:
    """Writes the checkpoints of one start of a run.

    Args:
        prefix: of the run's checkpoints in the store.
        config: the run's settings, and ``schema_digest`` of its parameter vector, said in each manifest.
        present: step of the checkpoint that the run went on from, which need not be written again.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        world: World,
        checkpoint: CheckpointConfig,
        storage: StorageConfig,
        log: logging.Logger,
        *,
        config: RunConfig,
        schema_digest: str,
        present: int | None = None,
    ) -> None:
        self._store, self._prefix, self._world, self._log = store, prefix, world, log
        self._keep, self._storage = checkpoint.keep, storage
        self._config, self._schema_digest = config, schema_digest
        self._attempt = world.bcast(secrets.token_hex(4))
        self._thread: threading.Thread | None = None
        self._error: str | None = None  # of the last upload, None after a success
        self._failures = 0
        self._whole = -1 if present is None else present  # step of the newest whole checkpoint, on rank 0

    def save(
        self,
        state: Mapping[str, Any],
        *,
        step: int,
        epoch: int,
        samples: int,
        validation: float,
        wait: bool = False,
    ) -> bool:
        """Write the state of all ranks; collective.

        Without ``wait`` it returns as soon as the bytes are made; if an earlier checkpoint is still on its way on any
        rank, this one is left out on all.

        Args:
            state: this rank's, see ``state_file``.
            validation: newest validation loss, NaN if there is none.
            wait: return when the checkpoint is whole.

        Returns:
            Whether it is being written, or is there.

        Raises:
            CheckpointError: on all ranks: too many uploads have failed in a row, or with ``wait`` this one.
        """
        if wait:
            self._join()
        if self._world.bcast(self._whole) == step:
            return True
        busy = self._thread is not None and self._thread.is_alive()
        data = b"" if busy else pack(state)
        name = manifests.file_name(self._world.rank, self._attempt)
        mine = RankFile(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        reports = self._world.gather((busy, mine, self._failures, self._error))
        self._refuse_failures([(failures, error) for _, _, failures, error in reports])
        late = [rank for rank, (is_busy, *_) in enumerate(reports) if is_busy]
        if late:
            self._log.warning(
                "checkpoint of step %d left out: the one before is still being written by rank %d",
                step,
                late[0],
            )
            return False
        whole = Manifest(
            attempt=self._attempt,
            step=step,
            epoch=epoch,
            samples=samples,
            validation=validation if math.isfinite(validation) else None,
            config=self._config.model_dump(),
            config_digest=configuration.digest(self._config),
            schema_digest=self._schema_digest,
            files=[file for _, file, _, _ in reports],
        )
        # A daemon: after a crash nothing must keep the process from ending.
        self._thread = threading.Thread(
            target=self._upload, args=(data, whole), daemon=True, name="checkpoint"
        )
        self._thread.start()
        if wait:
            self._join()
            self._refuse_failures(
                [(self._storage.max_failures, e) for e in self._world.gather(self._error) if e]
            )
        return True

    def close(self) -> None:
        """Wait for an upload that is under way; idempotent."""
        self._join()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _refuse_failures(self, failures: list[tuple[int, str | None]]) -> None:
        for count, text in failures:
            if count >= self._storage.max_failures:
                raise self._world.agreed(CheckpointError(f"checkpoints cannot be written: {text}"))

    def _upload(self, data: bytes, whole: Manifest) -> None:
        try:
            place = manifests.folder(self._prefix, whole.step)
            self._put(f"{place}/{whole.files[self._world.rank].name}", data)
            if self._world.rank == 0:
                self._await_files(place, whole)
                self._put(f"{place}/{manifests.NAME}", whole.model_dump_json(indent=1).encode())
                self._whole = whole.step
                self._log.info("checkpoint of step %d is whole", whole.step)
                self._thin_out()
        except Exception as error:  # reported, counted and raised on the training thread
            known = from_os_error(error) if isinstance(error, OSError) else None
            self._error = f"step {whole.step}: {known or error or type(error).__name__}"
            self._failures += 1
            self._log.error("checkpoint not written: %s", self._error)
            return
        self._error, self._failures = None, 0

    def _put(self, key: str, data: bytes) -> None:
        def is_transient(error: Exception) -> bool:
            return isinstance(error, OSError) and from_os_error(error) is None

        retry(lambda: self._store.put_new(key, data), is_transient, self._storage.timeout_s)

    def _await_files(self, place: str, whole: Manifest) -> None:
        wanted = {f"{place}/{file.name}": file.size for file in whole.files}
        deadline, pause = time.monotonic() + self._storage.timeout_s, FIRST_LOOK_S
        while True:
            there = dict(self._store.list(f"{place}/"))
            missing = [rank for rank, (key, size) in enumerate(wanted.items()) if there.get(key) != size]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the file of rank {missing[0]} did not come within {self._storage.timeout_s:g} s "
                    "(storage.timeout_s)"
                )
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK_S)

    def _thin_out(self) -> None:
        """Keep the newest checkpoints and the one of the best validation loss."""
        steps = manifests.steps(self._store, self._prefix)
        if len(steps) <= self._keep:
            return
        losses = {step: manifests.read(self._store, self._prefix, step).validation for step in steps}
        known = {step: loss for step, loss in losses.items() if loss is not None}
        kept = {*steps[-self._keep :], *([min(known, key=lambda s: (known[s], s))] if known else [])}
        for step in steps:
            if step not in kept:
                manifests.remove(self._store, self._prefix, step)
