"""How a cluster joins a run: one manifest that all agree on, and the weights that all start from."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

from hpc_lstm.clusters import documents, recovery
from hpc_lstm.clusters.documents import RunManifest
from hpc_lstm.clusters.encoding import encode_vector
from hpc_lstm.clusters.session import Session
from hpc_lstm.clusters.steps import Steps, Wait
from hpc_lstm.errors import ConfigError, StorageError


def agree_on_manifest(
    session: Session, initial: np.ndarray, settings: dict[str, Any], schema_digest: str
) -> Steps[RunManifest]:
    """The run's manifest, written by the first cluster and compared by the others.

    Args:
        initial, settings, schema_digest: as for ``Rounds.join``.

    Raises:
        ConfigError: the run's clusters train something else; names the key that differs.
        StorageError: the manifest is of another run, or was deleted just now.
    """
    key = documents.manifest_key()
    manifest = yield from session.repository.require_valid(RunManifest, key)
    if manifest is None and session.state.run:
        raise StorageError(
            f"{key}: is gone, though this cluster has joined its run; restore the store, or start another sync.run"
        )
    if manifest is None:
        payload, _ = yield from session.repository.put_vector(0, initial, "float32", "weights")
        manifest = RunManifest(
            settings=settings,
            schema_digest=schema_digest,
            length=len(initial),
            initial=payload,
            id=session.options.run_id,
            place=session.options.place,
        )
        if not (yield from session.repository.put_document(key, manifest)):
            manifest = yield from session.repository.require_valid(RunManifest, key)
            if manifest is None:
                raise StorageError(f"{key}: was there and is gone; is somebody deleting this run?")
    _refuse_other_run(session, manifest)
    session.repository.belong_to(manifest)
    session.initial_key = documents.payload_key(0, manifest.initial.sha256)
    _refuse_other_settings(manifest, settings)
    if (manifest.schema_digest, manifest.length) != (schema_digest, len(initial)):
        raise ConfigError(
            "the clusters of this run train a network with other parameters; use another sync.run"
        )
    return manifest


def initial_weights(session: Session, manifest: RunManifest, own: np.ndarray) -> Steps[np.ndarray]:
    """The weights that all clusters start from, float32 [P]; ``own`` if they are the same."""
    if documents.payload_hash(encode_vector(own, "float32")) == manifest.initial.sha256:
        return own
    attempt, since = 0, (yield from Wait(0))
    while True:
        vector = yield from session.repository.get_vector(0, manifest.initial, manifest.length)
        if vector is not None:
            return vector
        attempt += 1
        yield from recovery.wait_for_payload(
            session, attempt, since, session.initial_key, "the weights that all clusters start from"
        )


def _refuse_other_run(session: Session, manifest: RunManifest) -> None:
    """Refuse a valid manifest that was put there in place of the run's own.

    Raises:
        StorageError: it is another one than this cluster has joined; or this cluster joins now, and it may be of
            another run.
    """
    key, known = documents.manifest_key(), session.state.run
    if known:
        if known != manifest.digest():
            raise StorageError(
                f"{key}: is of another run than this cluster has joined; put the run's own back, or start another "
                "sync.run"
            )
        return
    if not session.repository.is_signed or session.options.accept_older:
        return
    if not manifest.id:
        raise StorageError(
            f"{key}: was signed by an older version, and may be that of an earlier run of this name; if it is this "
            "run's, join once with --accept-unsigned"
        )
    if manifest.place != session.options.place:
        raise StorageError(
            f"{key}: was signed for {_shortened(manifest.place)} and lies in {_shortened(session.options.place)}; if "
            "you have moved the run, join once with --accept-unsigned"
        )


def _refuse_other_settings(manifest: RunManifest, settings: dict[str, Any]) -> None:
    for name in sorted({*manifest.settings, *settings}):
        theirs, own = manifest.settings.get(name), settings.get(name)
        if theirs != own:
            key = name if name in settings else _shortened(name)
            raise ConfigError(
                f"{key}: is {_shortened(own)} here and {_shortened(theirs)} in the run that the clusters share; use "
                "the same value, or another sync.run"
            )


def _shortened(value: Any) -> str:
    """A value of a document as one line of bounded length."""
    form = reprlib.Repr()
    form.maxlist = form.maxdict = form.maxstring = form.maxother = 100
    return form.repr(value)
