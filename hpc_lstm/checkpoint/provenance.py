"""That a checkpoint is this run's own: its manifest is unchanged, signed, and of no other run and no other place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from hpc_lstm.errors import StorageError
from hpc_lstm.storage.signing import FIELD, VARIABLE, Signer, canonical_json

DIGEST = "digest"


@dataclass(frozen=True)
class Provenance:
    """Whose checkpoints are read and written.

    Attributes:
        signer: with the key of signatures, if there is one; on rank 0.
        run: random name of the run, by which its directory knows it; "": not known yet.
        place: of the store, "" in the run's own directory.
        accept_unsigned: take what is not signed for this run and place.
    """

    signer: Signer = field(default_factory=Signer)
    run: str = ""
    place: str = ""
    accept_unsigned: bool = False

    def seal(self, key: str, content: dict[str, Any]) -> dict[str, Any]:
        """A manifest as it is put under ``key``: signed if there is a key, and with a digest of the whole."""
        signed = self._signer(content).sign(key, content)
        return {**signed, DIGEST: _digest(signed)}

    def verify(self, key: str, content: dict[str, Any]) -> dict[str, Any]:
        """The manifest inside of what ``seal`` returned, or of what version 0.1 wrote, which has no digest.

        Raises:
            StorageError: it is not signed as it must be, or of another run or place.
        """
        manifest = {name: value for name, value in content.items() if name != DIGEST}
        signer = self._signer(manifest)
        try:
            verified = signer.verify(key, manifest)
        except ValueError as error:
            if not self.accept_unsigned:
                raise StorageError(f"{key}: {error}; {self._advice()}") from None
            return unsealed(content)
        if signer.active and not self.accept_unsigned:
            self._refuse_replayed(key, verified)
        return verified

    def _refuse_replayed(self, key: str, manifest: dict[str, Any]) -> None:
        if self.run and manifest.get("run") != self.run:
            raise StorageError(
                f"{key}: is of another run of this name than the run directory's; {self._advice()}"
            )
        if not self.run and manifest.get("place") != self.place:
            raise StorageError(
                f"{key}: was written in another place, {manifest.get('place')!r}; {self._advice()}"
            )

    def _advice(self) -> str:
        if not self.signer.active:
            return "nothing was read of it; or, if the key is lost, resume once with --accept-unsigned"
        return (
            f"nothing was read of it; delete it if it is not yours; if an older version wrote it, or a run without "
            f"{VARIABLE}, or you have moved it, resume once with --accept-unsigned"
        )

    def _signer(self, manifest: dict[str, Any]) -> Signer:
        # What says of itself that it is another run's is signed for that one.
        return self.signer.within("checkpoint", str(manifest.get("run", "")))


def is_damaged(content: dict[str, Any]) -> bool:
    """True if a manifest with a digest is not what was written."""
    signed = {name: value for name, value in content.items() if name != DIGEST}
    return DIGEST in content and content[DIGEST] != _digest(signed)


def unsealed(content: dict[str, Any]) -> dict[str, Any]:
    """A manifest without signature and digest, verified by nobody: for tables."""
    return {name: value for name, value in content.items() if name not in (DIGEST, FIELD)}


def _digest(signed: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(signed)).hexdigest()
