"""Writing checkpoints of all ranks in the background, completely or not at all.

Each rank serializes its state on the training thread, where all ranks also exchange the hashes. A background thread
then uploads the bytes to the object store. On rank 0 it waits until the files of all ranks are there, puts the manifest
that makes them a checkpoint, and deletes checkpoints beyond ``checkpoint.keep``. Only the training thread uses MPI;
where it learns there that a rank's upload has failed, that file is no longer waited for.
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
from hpc_lstm.checkpoint.provenance import Provenance
from hpc_lstm.checkpoint.state_file import pack_state
from hpc_lstm.config import CheckpointConfig, RunConfig, StorageConfig
from hpc_lstm.errors import CheckpointWriteError, HpcLstmError, StorageError, from_os_error
from hpc_lstm.parallel.world import World
from hpc_lstm.storage.objects import ObjectStore
from hpc_lstm.storage.retry import retry

T = TypeVar("T")
_TRANSIENT_ERRNOS = {
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
# Rank 0 polls for the other ranks' files: often at first, then less.
FIRST_POLL_S, MAX_POLL_S = 0.02, 2.0
# How often ranks that have nothing else to do ask each other whether all are done.
FIRST_JOIN_S, MAX_JOIN_S = 0.002, 0.1
# How long a run that ends early waits for an upload: other ranks are waiting for the end.
CLOSE_S = 3.0
# How long a run that was asked to stop waits for files that the other ranks have written: it waits so twice where the
# checkpoint before is under way, too, and Slurm kills after 30 s.
STOP_S = 8.0


def holds_checkpoints(store: ObjectStore, prefix: str) -> bool:
    """True if there is a complete checkpoint under ``prefix``."""
    return bool(manifests.complete_steps(store, prefix))


class _Report(NamedTuple):
    """What the ranks exchange about checkpoints; ``failures``, ``complete`` and ``upload`` count of rank 0 alone."""

    busy: bool
    error: str | None
    failed_step: int | None
    failures: int
    complete: int
    upload: str
    stopping: bool


class CheckpointWriter:
    """Writes the checkpoints of one start of a run.

    Args:
        prefix: of the run's checkpoints in the store.
        config: the run's settings, for the manifests, as is ``schema_digest`` of its parameter vector.
        present: step of the checkpoint that the run was resumed from, which need not be written again.
        completed: called with its step on rank 0 after each complete checkpoint, on a thread of its own.
        provenance: the run that they are of, and the key that they are signed with, on rank 0; None: unsigned.
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
        completed: Callable[[int], None] = lambda step: None,
        provenance: Provenance | None = None,
    ) -> None:
        self._store, self._prefix, self._world, self._log = store, prefix, world, log
        self._completed, self._provenance = completed, provenance or Provenance()
        self._keep, self._storage = checkpoint.keep, storage
        self._config, self._schema_digest = config, schema_digest
        self._attempt = world.bcast(secrets.token_hex(4))
        self._thread: threading.Thread | None = None
        self._error: str | None = None  # of the last upload, None after a success
        self._step = -1  # of the last upload
        self._failed_step: int | None = None  # of the last upload, if it has failed
        self._give_up = math.inf  # when files of other ranks are no longer waited for, on rank 0
        self._failed_ranks: dict[int, str] = {}  # those of the upload in progress, as rank 0 has been told
        self._failures = 0  # consecutive failed uploads, on rank 0
        self._complete = -1 if present is None else present  # newest complete step, on rank 0

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

        Without ``wait`` it returns as soon as the state is serialized; if any rank is still uploading an earlier
        checkpoint, this one is skipped on all.

        Args:
            state: this rank's, see ``state_file``.
            validation: newest validation loss, NaN if there is none.
            wait: return when the checkpoint is complete.

        Returns:
            False if it was skipped.

        Raises:
            CheckpointWriteError: on all ranks: too many uploads have failed in a row, or with ``wait`` this one.
        """
        reports = self._join_all() if wait else self._reports()
        if reports[0].complete == step:
            return True
        # With ``wait`` it is the last chance to save the run: try, whatever happened before.
        if not wait and reports[0].failures >= self._storage.max_failures:
            raise self._failed(reports)
        late = [rank for rank, report in enumerate(reports) if report.busy]
        if late:
            self._log.warning(
                "checkpoint of step %d skipped: rank %d is still writing the one before",
                step,
                late[-1],  # rank 0, which waits for the files of others, is late whenever one of them is
            )
            return False
        data = pack_state(state)
        name = manifests.rank_file_name(self._world.rank, reports[0].upload)
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
            run=self._provenance.run,
            place=self._provenance.place,
        )
        self._step, self._failed_step, self._failed_ranks = step, None, {}
        self._give_up = math.inf
        # A daemon: after a crash nothing must keep the process alive.
        self._thread = threading.Thread(
            target=self._upload, args=(data, whole), daemon=True, name="checkpoint"
        )
        self._thread.start()
        if wait:
            reports = self._join_all()
            if reports[0].complete != step:
                raise self._failed(reports)
        return True

    def close(self) -> None:
        """Wait briefly for an upload in progress, which only a run that ends early has; idempotent."""
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _join_all(self) -> list[_Report]:
        """Wait until no rank is uploading; collective. Returns what all say then.

        In a run that was asked to stop, rank 0 does not wait for long for what the others have done.
        """
        pause = FIRST_JOIN_S
        while True:
            reports = self._reports()
            if not any(report.busy for report in reports):
                return reports
            if any(report.stopping for report in reports) and not any(report.busy for report in reports[1:]):
                self._give_up = min(self._give_up, time.monotonic() + STOP_S)
            time.sleep(pause)
            pause = min(2 * pause, MAX_JOIN_S)

    def _reports(self) -> list[_Report]:
        busy = self._thread is not None and self._thread.is_alive()
        reports = self._world.allgather(
            _Report(
                *(busy, self._error, self._failed_step, self._failures, self._complete, secrets.token_hex(4)),
                stopping=self._world.stop_requested,
            )
        )
        self._failed_ranks = {
            rank: report.error or ""
            for rank, report in enumerate(reports)
            if report.failed_step == self._step
        }
        return reports

    def _failed(self, reports: list[_Report]) -> CheckpointWriteError:
        known = [(rank, report.error) for rank, report in enumerate(reports) if report.error]
        # Another rank knows why its upload failed; rank 0 only knows that the file did not come.
        rank, text = (known[1:] or known)[0]
        kept = _kept(reports[0].complete)
        return self._world.on_all_ranks(
            CheckpointWriteError(f"checkpoints cannot be written: rank {rank}, {text}; {kept}")
        )

    def _upload(self, data: bytes, whole: Manifest) -> None:
        try:
            place = manifests.step_prefix(self._prefix, whole.step)
            self._put(f"{place}/{whole.files[self._world.rank].name}", data)
            if self._world.rank == 0:
                self._await_files(place, whole)
                self._put_manifest(f"{place}/{manifests.NAME}", whole)
                self._complete = whole.step
                self._log.info("checkpoint of step %d is complete", whole.step)
        except Exception as error:  # reported, counted and raised on the training thread
            self._error = f"step {whole.step}: {_one_line(error)}"
            self._failed_step = whole.step
            self._failures += 1
            known = isinstance(error, (HpcLstmError, OSError))
            self._log.error("checkpoint not written: %s", self._error, exc_info=not known)
            return
        self._error, self._failed_step, self._failures = None, None, 0
        if self._world.rank == 0:
            # Harmless: the checkpoint is whole. One must not keep the other from being done.
            self._do_after(whole.step, self._completed, "it could not be noted in the run directory")
            self._do_after(whole.step, self._delete_old, "old ones could not be deleted")

    def _do_after(self, step: int, work: Callable[[int], None], trouble: str) -> None:
        try:
            work(step)
        except Exception as error:
            self._log.warning("after the checkpoint of step %d: %s: %s", step, trouble, _one_line(error))

    def _put(self, key: str, data: bytes) -> bool:
        return self._try(lambda: self._store.put_new(key, data))

    def _put_manifest(self, key: str, whole: Manifest) -> None:
        if self._put(key, manifests.manifest_bytes(key, whole, self._provenance)):
            return
        # It may be from this start: an upload counted as failed because its response was lost.
        there = manifests.read_manifest(self._store, self._prefix, whole.step, self._provenance)
        if there.attempt != self._attempt:
            raise StorageError(
                f"{key}: another run has put its checkpoint there; give each run a --run-dir with another name"
            )

    def _try(self, work: Callable[[], T]) -> T:
        return retry(work, _is_transient, self._storage.timeout_s)

    def _await_files(self, place: str, whole: Manifest) -> None:
        expected = {f"{place}/{file.name}": file.size for file in whole.files}
        deadline, pause = time.monotonic() + self._storage.timeout_s, FIRST_POLL_S
        while True:
            there = dict(self._try(lambda: self._store.list(f"{place}/")))
            missing = [rank for rank, (key, size) in enumerate(expected.items()) if there.get(key) != size]
            if not missing:
                return
            failed = self._failed_ranks
            for rank in failed.keys() & missing:
                raise CheckpointWriteError(f"the file of rank {rank} will not come: {failed[rank]}")
            left = min(deadline, self._give_up) - time.monotonic()
            if left <= 0:
                raise TimeoutError(self._late(missing[0], stopping=self._give_up < deadline))
            time.sleep(min(pause, left))
            pause = min(2 * pause, MAX_POLL_S)

    def _late(self, rank: int, *, stopping: bool) -> str:
        """What is said of a file that rank 0 has waited for in vain."""
        timeout = f"{self._storage.timeout_s:g} s (storage.timeout_s)"
        limit = f"{STOP_S:g} s of the request to stop" if stopping else timeout
        text = f"the file of rank {rank} did not arrive within {limit}"
        in_a_folder = not self._storage.url.startswith("s3://")
        return f"{text}; checkpoints need a folder that all nodes share" if in_a_folder else text

    def _delete_old(self, newest: int) -> None:
        """Keep the newest checkpoints and the one of the best validation loss; delete what failed uploads left."""
        found = manifests.find_steps(self._store, self._prefix)
        for step, has_manifest in found.items():
            # No rank is still uploading an earlier one: each starts only when all have finished the one before.
            if not has_manifest and step < newest:
                manifests.delete_checkpoint(self._store, self._prefix, step)
        if sum(found.values()) <= self._keep:
            return
        losses: dict[int, float | None] = {}
        for step in (step for step, has_manifest in found.items() if has_manifest):
            # Not a checkpoint of ours: left alone.
            with contextlib.suppress(*manifests.DAMAGED, StorageError):
                found_there = manifests.read_manifest(self._store, self._prefix, step, self._provenance)
                losses[step] = found_there.validation
        known = {step: loss for step, loss in losses.items() if loss is not None}
        kept = {*sorted(losses)[-self._keep :], *sorted(known, key=lambda step: (known[step], step))[:1]}
        for step in losses:
            if step not in kept:
                manifests.delete_checkpoint(self._store, self._prefix, step)


def _kept(complete: int) -> str:
    """What is left of a run whose checkpoints cannot be written."""
    if complete < 0:
        return "there is no checkpoint to resume from"
    return f"--resume would go on from the checkpoint of step {complete}"


def _is_transient(error: Exception) -> bool:
    """True of errors of a network folder or a slow disk that may go away."""
    return isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS


def _one_line(error: Exception) -> str:
    known = from_os_error(error) if isinstance(error, OSError) else None
    return " ".join(str(known or error).split()) or type(error).__name__
