"""An object store in an S3 bucket, on AWS or any compatible server that supports ``If-None-Match: *``."""

from __future__ import annotations

import io
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from hpc_lstm.config import StorageConfig
from hpc_lstm.errors import ConfigError, StorageError
from hpc_lstm.storage.objects import NotFoundError, TooLargeError, checked_key, checked_prefix, is_key
from hpc_lstm.storage.retry import retry

T = TypeVar("T")
_EXISTS = 412
# Two conditional writes at the same time; S3 asks to retry.
_CONFLICT = 409
# 416: an object has become smaller while its parts were read.
_TRANSIENT = (408, _CONFLICT, 416, 425, 429)
# Sent with status 400, though transient.
_TRANSIENT_CODES = ("RequestTimeout", "Throttling", "ThrottlingException", "SlowDown")
_NOT_IMPLEMENTED = 501
# What boto3 takes for the code of an error whose text is none of S3's: a gateway's, whatever its status.
_NO_CODE = ("", "404")
# From which size on objects are transferred in parts, the size of a part, and how many are in flight.
_LARGE, _PART, _AT_ONCE = 16 << 20, 8 << 20, 8
_CONNECT_S, _READ_S = 10, 60
# So many bytes must come within the time that a read may take: half a KiB a second. They are handed over in batches.
_PIECE, _BATCH = 32 << 10, 1 << 20
# Seconds between two looks at what has come. They are counted, rather than read from a clock, which goes on while a
# process is stopped, and its data wait.
_LOOK_S = 1.0
# How long the first look at a store goes on: while nothing seems to speak S3, and once something does that is busy.
_UNANSWERED_S, _CHECK_S = 5, 30
_CREDENTIAL_CODES = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId")
# What a listing has at most: keys, and pages in a row without any, as many deleted versions make them.
_MOST_KEYS, _MOST_EMPTY_PAGES = 10_000_000, 10_000
# An object that ``check`` leaves below the prefix for later ranks and runs; never listed.
_PROBE = ".hpc-lstm-create-once"


def check_config(config: StorageConfig) -> None:
    """See ``stores.StoreModule``."""
    if not config.url.removeprefix("s3://").strip("/"):
        raise ConfigError('storage.url: names no bucket; write "s3://bucket/prefix"')
    if config.endpoint_url and not config.endpoint_url.startswith(("http://", "https://")):
        raise ConfigError(
            f'storage.endpoint_url: must start with "https://" or "http://", got "{config.endpoint_url}"'
        )
    if config.sse_kms_key and config.sse != "aws:kms":
        raise ConfigError('storage.sse_kms_key: is for sse = "aws:kms"; set that or remove it')


def open_url(config: StorageConfig) -> S3Store:
    """The store of ``s3://bucket/prefix``; not yet checked.

    Raises:
        StorageError: its address is wrong, or boto3 is not installed.
    """
    bucket, _, prefix = config.url.removeprefix("s3://").partition("/")
    return S3Store(
        bucket, prefix, config.endpoint_url, config.sse, config.timeout_s, sse_kms_key=config.sse_kms_key
    )


class S3Store:
    """Objects of a bucket below a prefix; see ``objects.ObjectStore``.

    Credentials come from where boto3 finds them: environment, profile, instance role. boto3's own retries are off, so
    that one deadline covers all attempts.

    Args:
        endpoint_url: of a server other than AWS, or "".
        sse: "", "AES256" or "aws:kms".
        timeout_s: seconds after which an operation is not retried.
        sse_kms_key: key for "aws:kms"; "": the account's default for S3.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        endpoint_url: str,
        sse: str,
        timeout_s: float,
        *,
        sse_kms_key: str = "",
    ) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
            from botocore.parsers import ResponseParserError
            from s3transfer.exceptions import RetriesExceededError
        except ImportError:
            raise StorageError('s3:// needs boto3, which is missing: pip install "hpc-lstm[s3]"') from None
        self._client_error = ClientError
        # A gateway answered with something other than XML; or s3transfer gave up on a part of a large object.
        self._unclear_errors = ResponseParserError, RetriesExceededError
        self._parser_error = ResponseParserError
        self._core_errors = BotoCoreError, *self._unclear_errors
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._timeout_s = timeout_s
        self._put_options = {"ServerSideEncryption": sse} if sse else {}
        if sse_kms_key:
            self._put_options["SSEKMSKeyId"] = sse_kms_key
        self._endpoint_url = endpoint_url or None
        self._options = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=min(_CONNECT_S, timeout_s),
            read_timeout=min(_READ_S, timeout_s),
            # Servers other than AWS often support the required checksums only.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if endpoint_url else None,
        )
        self._renewing = threading.Lock()
        try:
            # A session of its own: boto3's default session is not thread-safe.
            session = boto3.session.Session()
            self._client = session.client("s3", endpoint_url=self._endpoint_url, config=self._options)
            self._access = _access(session)
        except BotoCoreError as error:
            raise StorageError(f"{self._url()}: {_unreachable(error)}") from None
        except ValueError:
            raise StorageError(
                f"{self._url()}: storage.endpoint_url is not an address; write it like https://s3.example.org:9000"
            ) from None

    def check(self) -> None:
        """See ``objects.ObjectStore``; lists and creates once, and retries for a shorter time than other calls."""
        begin = time.monotonic()
        first_page = {"Bucket": self._bucket, "Prefix": self._prefix, "MaxKeys": 1}
        self._try(
            lambda: self._page(**first_page), min(self._timeout_s, _CHECK_S), unanswered_s=_UNANSWERED_S
        )

        def left() -> float:
            return min(self._timeout_s, max(_UNANSWERED_S, _CHECK_S - (time.monotonic() - begin)))

        # If both succeed, the second has replaced the first.
        if self._put_new(_PROBE, b"1", left()) and self._put_new(_PROBE, b"2", left()):
            raise StorageError(
                f"{self._url()}: this server replaces objects where it is asked not to (If-None-Match: *); "
                "use one that supports conditional writes"
            )

    def put_new(self, key: str, data: bytes) -> bool:
        return self._put_new(key, data, self._timeout_s)

    def _put_new(self, key: str, data: bytes, timeout_s: float) -> bool:
        request = {"Bucket": self._bucket, "Key": self._key(key), "Body": data, **self._put_options}
        in_doubt = False

        def put() -> bool:
            nonlocal in_doubt
            try:
                self._expect("ETag", self._client.put_object(**request, IfNoneMatch="*"))
            except self._client_error as error:
                if _status(error) == _EXISTS:
                    return False
                in_doubt = in_doubt or _status(error) != _CONFLICT
                raise
            except self._core_errors:
                in_doubt = True
                raise
            return True

        return self._try(put, timeout_s, key) or (in_doubt and self._holds(key, data))

    def _holds(self, key: str, data: bytes) -> bool:
        """Whether an object is the one that an attempt put whose response was lost."""
        try:
            return self.get(key, len(data)) == data
        except (NotFoundError, TooLargeError):
            return False

    def put(self, key: str, data: bytes) -> None:
        place = {"Bucket": self._bucket, "Key": self._key(key)}

        def put() -> None:
            if len(data) < _LARGE:
                self._expect("ETag", self._client.put_object(**place, Body=data, **self._put_options))
            else:
                self._client.upload_fileobj(
                    io.BytesIO(data), **place, ExtraArgs=self._put_options, Config=self._in_parts()
                )

        self._try(put, self._timeout_s, key)

    def get(self, key: str, limit: int | None = None) -> bytes:
        """See ``objects.ObjectStore``; no more is read than the answer to the first request has announced."""

        def begin() -> tuple[int, bytes | None]:
            answer = self._get(key)
            size = int(answer["ContentLength"])
            if limit is not None and size > limit:
                answer["Body"].close()
                raise TooLargeError(
                    f"{self._url(key)}: {size} bytes, more than the {limit} expected: not read"
                )
            if size < _LARGE:
                return size, self._read(answer, size)
            answer["Body"].close()
            return size, None

        size, data = self._try(begin, self._timeout_s, key)
        return self._get_parts(key, size) if data is None else data

    def _get_parts(self, key: str, size: int) -> bytes:
        """The first ``size`` bytes of a large object, in parallel parts that are tried again one by one."""

        def part(start: int) -> bytes:
            end = min(start + _PART, size)

            def read() -> bytes:
                return self._read(self._get(key, Range=f"bytes={start}-{end - 1}"), end - start)

            return self._try(read, self._timeout_s, key)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return b"".join(pool.map(part, range(0, size, _PART)))

    def _get(self, key: str, **options: str) -> Any:
        """What the server answers, with the body yet to be read.

        Raises:
            NotFoundError: there is no such object.
        """
        try:
            answer = self._answer(self._client.get_object, Bucket=self._bucket, Key=self._key(key), **options)
        except self._client_error as error:
            code, absent = _code(error), _status(error) == 404
            missing = absent and code not in ("NoSuchBucket", *_NO_CODE)
            unclear = (absent and code in _NO_CODE) or code == "AccessDenied"
            if missing or (unclear and self._is_missing(key)):
                raise NotFoundError(f"{self._url(key)}: no such object") from None
            raise
        return self._expect("ETag", answer)

    def _read(self, answer: Any, size: int) -> bytes:
        """The body of an answer, of ``size`` bytes: whatever its headers say, hardly more is held in memory.

        Each ``_PIECE`` must come within the time that a silent server has: see ``_handed_over``.
        """
        body, pieces, left, come = answer["Body"], [], size + 1, _Come()
        for piece in self._handed_over(_batches(body, left, come), self._options.read_timeout, come):
            pieces.append(piece)
            left -= len(piece)
        if left != 1:
            body.close()
            raise self._parser_error("not of the size that was announced")
        return b"".join(pieces)

    def _answer(self, request: Callable[..., Any], **parameters: Any) -> Any:
        """What the server answers to a request that sends and gets little; not awaited for longer than one object."""
        within_s = max(_READ_S, self._timeout_s)
        (answer,) = self._handed_over((request(**parameters) for _ in range(1)), within_s, _Come())
        return answer

    def _handed_over(self, results: Iterator[T], within_s: float, come: _Come) -> Iterator[T]:
        """The results, made by another thread, each piece of which may take so many seconds.

        A server that sends a byte from time to time is never silent for too long, and would be listened to for ever.
        Nothing but another thread can turn away from it; that one is left to itself.

        Raises:
            Exception: what making one has raised; ``ReadTimeoutError`` of botocore if one does not come.
        """
        from botocore.exceptions import ReadTimeoutError

        made: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        threading.Thread(target=_make, args=(results, made), daemon=True, name="s3 answer").start()
        look_s = min(_LOOK_S, within_s / 4)
        silent_s, seen = 0.0, come.pieces
        while True:
            try:
                more, result = made.get(timeout=look_s)
            except queue.Empty:
                silent_s, seen = silent_s + look_s if come.pieces == seen else 0.0, come.pieces
                if silent_s >= within_s:
                    raise ReadTimeoutError(endpoint_url=self._url()) from None
                continue
            silent_s = 0.0
            if isinstance(result, Exception):
                raise result
            if not more:
                return
            yield result

    def _expect(self, name: str, answer: Any) -> Any:
        """An answer that has what every answer of this kind has: a gateway's page with status 200 is none."""
        if name not in answer:
            raise self._parser_error(f"no {name}")
        return answer

    def _is_missing(self, key: str) -> bool:
        """Whether a refused object does not exist: with rights below a prefix only, S3 answers 403 instead of 404."""
        try:
            found = self._page(Bucket=self._bucket, Prefix=self._key(key), MaxKeys=1)
        except (self._client_error, *self._core_errors):
            return False
        return all(entry["Key"] != self._key(key) for entry in found.get("Contents", ()))

    def list(self, prefix: str) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        begin = self._prefix + checked_prefix(prefix)
        request = {"Bucket": self._bucket, "Prefix": begin}
        tokens, empty = set(), 0

        def page() -> tuple[list[tuple[str, int]], str]:
            answer = self._page(**request)
            entries = [(entry["Key"], int(entry["Size"])) for entry in answer.get("Contents", ())]
            return entries, answer["NextContinuationToken"] if answer.get("IsTruncated") else ""

        while True:
            entries, token = self._try(page, self._timeout_s, prefix)
            found += (
                (key.removeprefix(self._prefix), size) for key, size in entries if key.startswith(begin)
            )
            if not token:
                return sorted((key, size) for key, size in found if key != _PROBE and is_key(key))
            empty = 0 if entries else empty + 1
            if token in tokens or empty > _MOST_EMPTY_PAGES or len(found) > _MOST_KEYS:
                raise StorageError(
                    f"{self._url(prefix)}: the list of objects comes to no end ({len(found):,} so far); delete what "
                    "does not belong there, and check storage.endpoint_url"
                )
            tokens.add(token)
            request["ContinuationToken"] = token

    def _page(self, **request: Any) -> Any:
        """A page of a listing; what is none must not be taken for an empty one."""
        return self._expect("IsTruncated", self._answer(self._client.list_objects_v2, **request))

    def delete(self, key: str) -> None:
        place = {"Bucket": self._bucket, "Key": self._key(key)}
        self._try(lambda: self._answer(self._client.delete_object, **place), self._timeout_s, key)

    def discard_unfinished(self, prefix: str) -> None:
        """Nothing: unfinished multipart uploads are left to the bucket's lifecycle rules."""

    def _in_parts(self) -> Any:
        """How large objects are transferred: in parallel parts, all removed if one fails."""
        from boto3.s3.transfer import TransferConfig

        return TransferConfig(multipart_threshold=_LARGE, multipart_chunksize=_PART, max_concurrency=_AT_ONCE)

    def _try(
        self, work: Callable[[], T], timeout_s: float, key: str = "", *, unanswered_s: float = math.inf
    ) -> T:
        """Call ``work`` with retries; an error becomes one line, without any text of the server's.

        Args:
            unanswered_s: seconds after which it gives up if nothing that speaks S3 seems to be there.
        """
        begin, answered = time.monotonic(), False

        def attempt() -> T:
            client = self._client
            try:
                return work()
            except self._client_error as error:
                if _code(error) in _CREDENTIAL_CODES and self._renewed(client):
                    return work()
                raise
            except (LookupError, ValueError) as error:
                # The answer lacks what boto3, s3transfer or this module looks for in it.
                raise self._parser_error(type(error).__name__) from None

        def is_transient(error: Exception) -> bool:
            nonlocal answered
            answered = answered or self._is_there(error)
            return self._is_transient(error) and (answered or time.monotonic() - begin < unanswered_s)

        try:
            return retry(attempt, is_transient, timeout_s)
        except self._client_error as error:
            raise StorageError(f"{self._url(key)}: {self._refusal(_code(error), _status(error))}") from None
        except self._core_errors as error:
            raise StorageError(f"{self._url(key)}: {_unreachable(error)}") from None

    def _renewed(self, refused: Any) -> bool:
        """True if other credentials than those of a client are there now, which the next calls use.

        boto3 itself renews those of roles and of ``credential_process``, but reads ``~/.aws/credentials`` once; a run
        may outlive what somebody keeps renewing there.
        """
        import boto3

        with self._renewing:
            if self._client is not refused:  # another thread has seen it
                return True
            session = boto3.session.Session()
            access = _access(session)
            if access in (None, self._access):
                return False
            self._client = session.client("s3", endpoint_url=self._endpoint_url, config=self._options)
            self._access = access
            return True

    def _is_there(self, error: Exception) -> bool:
        """Whether an error is that of an S3 server, be it of one that is too busy to answer."""
        from botocore.exceptions import ConnectionError as Unreachable
        from botocore.exceptions import HTTPClientError

        if isinstance(error, self._client_error):
            return _status(error) != 404 or _code(error) not in _NO_CODE
        return isinstance(error, HTTPClientError) and not isinstance(error, Unreachable)

    def _is_transient(self, error: Exception) -> bool:
        if isinstance(error, self._client_error):
            status = _status(error)
            passing = status >= 500 and status != _NOT_IMPLEMENTED
            passing = passing or (status == 404 and _code(error) in _NO_CODE)
            return passing or status in _TRANSIENT or _code(error) in _TRANSIENT_CODES
        from botocore.exceptions import ConnectionError as Unreachable
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        return isinstance(error, (Unreachable, HTTPClientError, IncompleteReadError, *self._unclear_errors))

    def _key(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _url(self, key: str = "") -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def _refusal(self, code: str, status: int) -> str:
        if status == 404 and code in _NO_CODE:
            return "what answers there does not speak S3 (404); check storage.endpoint_url, and proxies on the way"
        if code == "NoSuchBucket" or status == 404:
            return f'there is no bucket "{self._bucket}"; make it, or correct storage.url'
        if code == "RequestTimeTooSkewed":
            return f"refused ({code}); the clock of this machine or of the server is wrong: set it"
        if "Quota" in code or code in ("EntityTooLarge", "StorageFull", "XMinioStorageFull"):
            return f"refused ({code}); a quota is used up: make room or ask for more"
        if status in (401, 403) or code in _CREDENTIAL_CODES:
            return (
                f"access refused ({code or status}); check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE or the "
                "machine's role) and that they may list, read, write and delete there"
            )
        if status in (301, 307, 400):
            return f"refused ({code or status}); check AWS_DEFAULT_REGION and storage.endpoint_url"
        if status == 501:
            return (
                f"the server does not support the request ({code}); use one that supports conditional writes"
            )
        return f"the server answers {code or status}; try again later"


def _make(results: Iterator[Any], made: queue.SimpleQueue[tuple[bool, Any]]) -> None:
    """Put results, each with whether it is one; at their end stands none, or the error that has ended them."""
    try:
        for result in results:
            made.put((True, result))
        made.put((False, None))
    except Exception as error:  # raised by whoever waits for them
        made.put((False, error))


class _Come:
    """How many pieces of a body have come."""

    pieces = 0


def _batches(body: Any, most: int, come: _Come) -> Iterator[bytes]:
    """At most so many bytes of a body."""
    batch = bytearray()
    while most and (piece := body.read(min(most, _PIECE))):
        come.pieces += 1
        most -= len(piece)
        batch += piece
        if len(batch) >= _BATCH:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)


def _unreachable(error: Exception) -> str:
    name = type(error).__name__
    if name in ("ConfigParseError", "ConfigNotFound"):
        return f"the AWS configuration cannot be read ({name}); correct ~/.aws/config or the file in AWS_CONFIG_FILE"
    if "Region" in name:
        return f"not a valid region ({name}); correct AWS_DEFAULT_REGION, or the region in ~/.aws/config"
    if "Credential" in name or "Profile" in name or "Token" in name:
        return (
            f"no usable credentials ({name}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if name in ("ParamValidationError", "InvalidBucketNameError"):
        return "not a valid bucket name; correct storage.url"
    if name == "ResponseParserError":
        return "what answers there does not speak S3; check storage.endpoint_url, and proxies on the way"
    return f"cannot be reached ({name}); check storage.endpoint_url and the network"


def _access(session: Any) -> Any:
    """The credentials of a session, to be compared; None if there are none."""
    credentials = session.get_credentials()
    return None if credentials is None else credentials.get_frozen_credentials()


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: Any) -> str:
    return " ".join(str(error.response.get("Error", {}).get("Code", "")).split())[:80]
