"""What somebody who may write into a bucket, and has no key, can put there in place of a checkpoint."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hpc_lstm.checkpoint import manifest as manifests
from hpc_lstm.checkpoint.provenance import Provenance, unsealed
from hpc_lstm.checkpoint.state_file import pack_state, unpack_state
from hpc_lstm.storage.objects import ObjectStore


def forge_checkpoint(store: ObjectStore, prefix: str, step: int, **changes: Any) -> None:
    """Put a checkpoint of ``step`` with other weights, made from the newest one, whole in itself.

    Args:
        changes: of the manifest.
    """
    newest = manifests.step_prefix(prefix, manifests.complete_steps(store, prefix)[-1])
    manifest = unsealed(json.loads(store.get(f"{newest}/{manifests.NAME}")))
    place = manifests.step_prefix(prefix, step)
    for file in manifest["files"]:
        state = unpack_state(store.get(f"{newest}/{file['name']}"))
        data = pack_state({**state, "weights": state["weights"] + 1})
        store.put_new(f"{place}/{file['name']}", data)
        file.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    key = f"{place}/{manifests.NAME}"
    store.put_new(key, json.dumps(Provenance().seal(key, {**manifest, "step": step, **changes})).encode())
