"""A bucket as tests get it, and the secret that must never come back out of anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SECRET_KEY = "planted-secret-0123456789abcdef"


@dataclass(frozen=True)
class Bucket:
    """An empty bucket.

    Attributes:
        endpoint: address of its server.
        client: a boto3 client of that server.
    """

    name: str
    endpoint: str
    client: Any
