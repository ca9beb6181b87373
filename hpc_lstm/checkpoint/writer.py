"""Writing checkpoints: the state of all ranks, off the training thread, whole or not at all.

Each rank's bytes are made on the training thread, where all ranks also exchange their hashes. A background thread
then puts them into the object store. That of rank 0 waits until the files of all ranks are there, puts the manifest
that makes them a checkpoint, and deletes what need not be kept. No MPI is used off the training thread.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from hpc_lstm import config as configuration
from hpc_lstm.checkpoint import manifest as manifests
from hpc_lstm.checkpoint.manifest import Manifest, RankFile
from hpc_lstm.checkpoint.state_file import pack
from hpc_lstm.config import CheckpointConfig, RunConfig, StorageConfig
from hpc_lstm.errors import CheckpointError, HpcLstmError, StorageError, from_os_error
from hpc_lstm.parallel.world import World
from hpc_lstm.storage.objects import ObjectStore
from hpc_lstm.storage.retry import retry

T = TypeVar("T")
_PASSING = {
    *(errno.ESTALE, errno.ENOENT, errno.EIO, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ETIMEDOUT),
    *(
        errno.EREMOTEIO,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENOLCK,
    ),
}
# How rank 0 looks for the other ranks' files: often at first, then less.
FIRST_LOOK_S, LONGEST_LOOK_S = 0.02, 2.0
# How long a run that ends early lets an upload go on: other ranks are waiting for the end.
CLOSE_S = 3.0


def holds_checkpoints(store: ObjectStore, prefix: str) -> bool:
    """True if there is a whole checkpoint under ``prefix``."""
    return bool(manifests.steps(store, prefix))


class _Report(NamedTuple):
    """What one rank tells the others before a checkpoint; of rank 0 only: ``failures``, ``whole`` and ``upload``."""

    busy: bool
    error: str | None
    failures: int
    whole: int
    upload: str


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
        self._failures = 0  # uploads in a row after which there was no whole checkpoint, on rank 0
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
        reports = self._reports()
        if reports[0].whole == step:
            return True
        # With ``wait`` it is the last chance to save the run: tried whatever happened before.
        if not wait and reports[0].failures >= self._storage.max_failures:
            raise self._failed(reports)
        late = [rank for rank, report in enumerate(reports) if report.busy]
        if late:
            self._log.warning(
                "checkpoint of step %d left out: the one before is still being written by rank %d",
                step,
                late[-1],  # rank 0 is late whenever another is, whose file it waits for
            )
            return False
        data = pack(state)
        name = manifests.file_name(self._world.rank, reports[0].upload)
        mine = RankFile(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        whole = Manifest(
            attempt=self._attempt,
            step=step,
            epoch=epoch,
            samples=samples,
            validation=validation if math.isfinite(validation) else None,
            config=self._config.model_dump(),
            config_digest=configuration.digest(self._config),
            schema_digest=self._schema_digest,
            files=self._world.allgather(mine),
        )
        # A daemon: after a crash nothing must keep the process from ending.
        self._thread = threading.Thread(
            target=self._upload, args=(data, whole), daemon=True, name="checkpoint"
        )
        self._thread.start()
        if wait:
            self._join()
            reports = self._reports()
            if reports[0].whole != step:
                raise self._failed(reports)
        return True

    def close(self) -> None:
        """End, after a short wait for an upload under way, which only a run that ends early has; idempotent."""
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _reports(self) -> list[_Report]:
        busy = self._thread is not None and self._thread.is_alive()
        return self._world.allgather(
            _Report(busy, self._error, self._failures, self._whole, secrets.token_hex(4))
        )

    def _failed(self, reports: list[_Report]) -> CheckpointError:
        known = [(rank, report.error) for rank, report in enumerate(reports) if report.error]
        # Where another rank knows what happened, rank 0 only knows that its file did not come.
        rank, text = (known[1:] or known)[0]
        return self._world.on_all_ranks(
            CheckpointError(f"checkpoints cannot be written: rank {rank}, {text}")
        )

    def _upload(self, data: bytes, whole: Manifest) -> None:
        try:
            place = manifests.folder(self._prefix, whole.step)
            self._put(f"{place}/{whole.files[self._world.rank].name}", data)
            if self._world.rank == 0:
                self._await_files(place, whole)
                self._put_manifest(f"{place}/{manifests.NAME}", whole)
                self._whole = whole.step
                self._log.info("checkpoint of step %d is whole", whole.step)
        except Exception as error:  # reported, counted and raised on the training thread
            self._error = f"step {whole.step}: {_one_line(error)}"
            self._failures += 1
            known = isinstance(error, (HpcLstmError, OSError))
            self._log.error("checkpoint not written: %s", self._error, exc_info=not known)
            return
        self._error, self._failures = None, 0
        if self._world.rank == 0:
            try:
                self._thin_out(whole.step)
            except Exception as error:  # what is too much does no harm to what is there
                self._log.warning("old checkpoints could not be deleted: %s", _one_line(error))

    def _put(self, key: str, data: bytes) -> bool:
        return self._try(lambda: self._store.put_new(key, data))

    def _put_manifest(self, key: str, whole: Manifest) -> None:
        if self._put(key, whole.model_dump_json(indent=1).encode()):
            return
        # Ours from an upload that was counted as failed, because its answer was lost, is as good.
        there = manifests.read(self._store, self._prefix, whole.step)
        if there.attempt != self._attempt:
            raise StorageError(
                f"{key}: another run has put its checkpoint there; give each run a --run-dir of another name"
            )

    def _try(self, work: Callable[[], T]) -> T:
        return retry(work, _may_pass, self._storage.timeout_s)

    def _await_files(self, place: str, whole: Manifest) -> None:
        wanted = {f"{place}/{file.name}": file.size for file in whole.files}
        deadline, pause = time.monotonic() + self._storage.timeout_s, FIRST_LOOK_S
        while True:
            there = dict(self._try(lambda: self._store.list(f"{place}/")))
            missing = [rank for rank, (key, size) in enumerate(wanted.items()) if there.get(key) != size]
            if not missing:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(
                    f"the file of rank {missing[0]} did not come within {self._storage.timeout_s:g} s "
                    "(storage.timeout_s)"
                )
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_LOOK_S)

    def _thin_out(self, newest: int) -> None:
        """Keep the newest checkpoints and the one of the best validation loss; delete what failed uploads left."""
        found = manifests.survey(self._store, self._prefix)
        for step, has_manifest in found.items():
            # No rank is still at an earlier one: each begins an upload only when all have ended the one before.
            if not has_manifest and step < newest:
                manifests.remove(self._store, self._prefix, step)
        if sum(found.values()) <= self._keep:
            return
        losses: dict[int, float | None] = {}
        for step in (step for step, has_manifest in found.items() if has_manifest):
            with contextlib.suppress(*manifests.DAMAGED):  # no checkpoint, whatever it is: left alone
                losses[step] = manifests.read(self._store, self._prefix, step).validation
        known = {step: loss for step, loss in losses.items() if loss is not None}
        kept = {*sorted(losses)[-self._keep :], *sorted(known, key=lambda step: (known[step], step))[:1]}
        for step in losses:
            if step not in kept:
                manifests.remove(self._store, self._prefix, step)


def _may_pass(error: Exception) -> bool:
    """Trouble of a folder on a network, or of a disk that is slow to answer."""
    return isinstance(error, OSError) and error.errno in _PASSING


def _one_line(error: Exception) -> str:
    known = from_os_error(error) if isinstance(error, OSError) else None
    return " ".join(str(known or error).split()) or type(error).__name__
