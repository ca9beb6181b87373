"""An object store in a bucket of S3, of AWS or of any server that speaks it and knows ``If-None-Match: *``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from hpc_lstm.errors import StorageError
from hpc_lstm.sync.objects import NotFoundError, checked_key
from hpc_lstm.sync.retry import retry

T = TypeVar("T")
_EXISTS = (412,)
# 409: two conditional writers met; S3 asks to try again.
_TRANSIENT = (408, 409, 425, 429, 500, 502, 503, 504)
_CONNECT_S, _READ_S = 10, 60


class S3Store:
    """Objects of a bucket below a prefix; see ``objects.ObjectStore``.

    Credentials come from where boto3 finds them: environment, profile, instance role. Retries are ours, so that
    one deadline holds for all of them.

    Args:
        endpoint_url: of a server other than AWS, or "".
        sse: "", "AES256" or "aws:kms".
        timeout_s: seconds that one operation may take, retries included.
    """

    def __init__(self, bucket: str, prefix: str, endpoint_url: str, sse: str, timeout_s: float) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise StorageError('s3:// needs boto3, which is missing: pip install "hpc-lstm[s3]"') from None
        self._client_error, self._core_error = ClientError, BotoCoreError
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._timeout_s = timeout_s
        self._put_options = {"ServerSideEncryption": sse} if sse else {}
        options = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=min(_CONNECT_S, timeout_s),
            read_timeout=min(_READ_S, timeout_s),
            # Servers other than AWS often know no other checksums than the required ones.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if endpoint_url else None,
        )
        try:
            self._client = boto3.client("s3", endpoint_url=endpoint_url or None, config=options)
        except (BotoCoreError, ValueError) as error:
            raise StorageError(
                f"{self._url()}: {_first_line(error)}; check storage.endpoint_url and AWS_*"
            ) from None

    def check(self) -> None:
        """See ``objects.ObjectStore``; it lists one object and tries for a few seconds only."""
        try:
            self._try(
                lambda: self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1),
                min(self._timeout_s, 5.0),
            )
        except self._client_error as error:
            code = error.response.get("Error", {}).get("Code", "")
            raise StorageError(f"{self._url()}: {self._advice(code, _status(error))}") from None
        except self._core_error as error:
            raise StorageError(f"{self._url()}: {_core_advice(error)}") from None

    def put_new(self, key: str, data: bytes) -> bool:
        tries = 0

        def put() -> bool:
            nonlocal tries
            tries += 1
            try:
                self._client.put_object(
                    Bucket=self._bucket, Key=self._key(key), Body=data, IfNoneMatch="*", **self._put_options
                )
            except self._client_error as error:
                if _status(error) in _EXISTS:
                    return False
                raise
            return True

        created = self._try(put, self._timeout_s)
        # After a lost answer the second try finds what the first one put.
        return created or (tries > 1 and self.get(key) == data)

    def get(self, key: str, limit: int | None = None) -> bytes:
        def read() -> bytes:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
            size = int(answer["ContentLength"])
            if limit is not None and size > limit:
                answer["Body"].close()
                raise StorageError(
                    f"{self._url(key)}: {size} bytes, more than the {limit} expected: not read"
                )
            return answer["Body"].read()

        try:
            return self._try(read, self._timeout_s)
        except self._client_error as error:
            if _status(error) == 404:
                raise NotFoundError(f"{self._url(key)}: no such object") from None
            raise

    def list(self, prefix: str) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        token: dict[str, str] = {}
        while True:
            request = {"Bucket": self._bucket, "Prefix": self._prefix + prefix, **token}
            answer = self._try(partial(self._client.list_objects_v2, **request), self._timeout_s)
            for entry in answer.get("Contents", ()):
                found.append((entry["Key"].removeprefix(self._prefix), int(entry["Size"])))
            if not answer.get("IsTruncated"):
                return sorted(found)
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        self._try(
            lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key(key)), self._timeout_s
        )

    def _try(self, work: Callable[[], T], timeout_s: float) -> T:
        return retry(work, self._is_transient, timeout_s)

    def _is_transient(self, error: Exception) -> bool:
        if isinstance(error, self._client_error):
            return _status(error) in _TRANSIENT
        from botocore.exceptions import ConnectionError as Unreachable
        from botocore.exceptions import HTTPClientError, ResponseStreamingError

        return isinstance(error, (Unreachable, HTTPClientError, ResponseStreamingError))

    def _key(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _url(self, key: str = "") -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def _advice(self, code: str, status: int) -> str:
        if code == "NoSuchBucket" or status == 404:
            return f'there is no bucket "{self._bucket}"; make it, or correct storage.url'
        if status in (401, 403):
            return (
                f"access refused ({code or status}); check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE or the "
                "machine's role) and that they may list, read, write and delete there"
            )
        if status in (301, 307, 400):
            return f"refused ({code or status}); check AWS_REGION and storage.endpoint_url"
        return f"the server answers {code or status}; try again later"


def _core_advice(error: Exception) -> str:
    name = type(error).__name__
    if "Credentials" in name or "Profile" in name or "Token" in name:
        return "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if name in ("ParamValidationError", "InvalidBucketNameError"):
        return "not a valid bucket name; correct storage.url"
    return f"cannot be reached ({name}); check storage.endpoint_url and the network"


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [""])[0]
