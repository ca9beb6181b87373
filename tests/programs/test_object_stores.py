"""What both object stores promise, and what each meets in the field."""

from __future__ import annotations

import contextlib
import errno
import functools
import http.server
import io
import itertools
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from s3_bucket import SECRET_KEY, Bucket

from hpc_lstm.config import StorageConfig
from hpc_lstm.errors import StorageError, from_os_error
from hpc_lstm.storage.folder import FolderStore
from hpc_lstm.storage.objects import NotFoundError, ObjectStore, TooLargeError
from hpc_lstm.storage.s3 import S3Store
from hpc_lstm.storage.stores import open_store

HOSTILE_KEYS = ["", "/", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a/.", "..", "a\0b"]


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return open_store(StorageConfig(url=f"file://{tmp_path}/store"), tmp_path / "elsewhere")
    bucket = request.getfixturevalue("bucket")
    config = StorageConfig(url=f"s3://{bucket.name}/team/runs/", endpoint_url=bucket.endpoint)
    return open_store(config, tmp_path)


def s3(bucket: Bucket, prefix: str = "team/runs", sse: str = "", timeout_s: float = 20.0) -> S3Store:
    return S3Store(bucket.name, prefix, bucket.endpoint, sse, timeout_s)


@pytest.fixture
def smaller_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Transfer objects of this size as those of 16 MiB are by themselves.

    They are read in parts of half of it, and written as an upload of a single part: S3's have at least 5 MiB.
    """
    from hpc_lstm.storage import s3 as module

    assert module._LARGE == 2 * module._PART
    monkeypatch.setattr(module, "_LARGE", 1 << 20)
    monkeypatch.setattr(module, "_PART", 1 << 19)
    return 1 << 20


def refusal(work: Callable[[], object]) -> str:
    """The one line of a StorageError, which gives nothing away."""
    with pytest.raises(StorageError) as caught:
        work()
    text = str(caught.value)
    assert "\n" not in text
    assert SECRET_KEY not in text
    assert caught.value.exit_code == 2
    hidden = caught.value.__context__ is None or caught.value.__suppress_context__
    assert hidden, "a library's own words would be printed with it"
    return text


# -- what both promise --------------------------------------------------------------------------------


def test_an_object_is_created_once(store: ObjectStore) -> None:
    assert store.put_new("a/b", b"first")
    assert not store.put_new("a/b", b"second")
    assert not store.put_new("a/b", b"first"), "not even the same bytes"
    assert store.get("a/b") == b"first"


@pytest.mark.parametrize("data", [b"", bytes(range(256)) * 1000])
def test_bytes_come_back(store: ObjectStore, data: bytes) -> None:
    assert store.put_new("odd näme+%20&=", data)
    assert store.get("odd näme+%20&=") == data
    assert store.list("odd") == [("odd näme+%20&=", len(data))]


def test_a_new_store_is_empty(store: ObjectStore) -> None:
    assert store.list("") == []
    assert store.list("no/such/folder/") == []


def test_lists_are_of_a_prefix_and_sorted_by_key(store: ObjectStore) -> None:
    for number, key in enumerate(["run/b/2", "run/b/10", "run/a", "run-2/x", "runs", "Run"]):
        store.put_new(key, b"x" * number)
    keys = ["Run", "run-2/x", "run/a", "run/b/10", "run/b/2", "runs"]
    assert [key for key, _ in store.list("")] == keys
    assert store.list("run/b/") == [("run/b/10", 1), ("run/b/2", 0)]
    assert [key for key, _ in store.list("run/b/1")] == ["run/b/10"]
    assert [key for key, _ in store.list("run")] == keys[1:]
    assert store.list("un") == []


def test_delete_is_idempotent_and_leaves_the_rest(store: ObjectStore) -> None:
    store.put_new("a/b/c", b"1")
    store.put_new("a/b/d", b"2")
    for _ in range(2):
        store.delete("a/b/c")
    store.delete("never/was")
    store.delete("a/b/d/under a file")
    store.delete("a/b")
    assert store.list("") == [("a/b/d", 1)]
    assert store.put_new("a/b/c", b"again"), "a deleted key is free"
    for key in ("a/b/c", "a/b/d"):
        store.delete(key)
    assert store.list("") == []
    store.check()


@pytest.mark.parametrize("key", ["none", "a/none", "a", "a/b/none"])
def test_what_is_not_there_is_not_found(store: ObjectStore, key: str) -> None:
    store.put_new("a/b", b"1")
    with pytest.raises(NotFoundError, match=key):
        store.get(key)


def test_no_more_is_read_than_wanted(store: ObjectStore) -> None:
    store.put_new("a", b"12345")
    assert store.get("a", 5) == b"12345"
    with pytest.raises(TooLargeError, match="5 bytes, more than the 4"):
        store.get("a", 4)
    with pytest.raises(NotFoundError):
        store.get("b", 0)


def test_keys_do_not_lead_out(store: ObjectStore) -> None:
    for key in HOSTILE_KEYS:
        for work in (store.get, store.delete, functools.partial(store.put_new, data=b"")):
            assert repr(key) in refusal(functools.partial(work, key))


def test_prefixes_do_not_lead_out(store: ObjectStore) -> None:
    for prefix in ("../", "/", "/etc/", "a/../../", "a//", "./"):
        assert repr(prefix) in refusal(functools.partial(store.list, prefix))


def test_of_many_writers_one_wins(store: ObjectStore) -> None:
    for number in range(5):
        key, start = f"race/{number}", threading.Barrier(8)

        def put(writer: int) -> bool:
            start.wait()  # noqa: B023
            return store.put_new(key, b"%d" % writer * 1000)  # noqa: B023

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(put, range(8)))
        assert won.count(True) == 1
        assert store.get(key) == b"%d" % won.index(True) * 1000
    assert [key for key, _ in store.list("")] == [f"race/{number}" for number in range(5)]


# -- the folder ---------------------------------------------------------------------------------------


def test_files_being_written_are_not_listed_and_can_be_discarded(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_new("run/a", b"1")
    names: list[str] = []

    def killed(*_: object, **__: object) -> None:
        names.extend(path.name for path in tmp_path.rglob("*") if path.is_file())
        assert store.list("") == [("run/a", 1)]
        os._exit(0)

    child = os.fork()
    if child == 0:  # it dies with its file written but not yet linked
        try:
            os.link = killed  # type: ignore[assignment]
            store.put_new("run/steps/b", b"2")
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(list((tmp_path / "run" / "steps").iterdir())) == 1
    assert store.list("") == [("run/a", 1)]
    store.discard_unfinished("other/")
    assert len(list((tmp_path / "run" / "steps").iterdir())) == 1
    store.discard_unfinished("run/")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "run"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("function", ["fsync", "link"])
def test_a_put_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    store = FolderStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            store.put_new("a", b"1")
    assert str(caught.value) == f"[Errno {number}] {os.strerror(number)}: '{tmp_path}/a'"
    assert list(tmp_path.iterdir()) == []
    assert store.put_new("a", b"1")


def test_a_link_that_nfs_repeats_is_a_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def repeated(source: str, target: str, **folders: int) -> None:
        link(source, target, **folders)
        link(source, target, **folders)

    store = FolderStore(tmp_path)
    monkeypatch.setattr(os, "link", repeated)
    assert store.put_new("a", b"1")
    assert not store.put_new("a", b"2")
    assert store.get("a") == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_whose_answer_was_lost_is_a_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def lost(source: str, target: str, **folders: int) -> None:
        link(source, target, **folders)
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    monkeypatch.setattr(os, "link", lost)
    assert FolderStore(tmp_path).put_new("a", b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_temporary_file_that_cannot_be_removed_does_not_undo_the_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    store = FolderStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", stale)
        assert store.put_new("a", b"1")
        assert not store.put_new("a", b"2")
    assert store.list("") == [("a", 1)]


@pytest.mark.parametrize(("number", "found"), [(errno.ESTALE, []), (errno.EIO, None)])
def test_a_file_that_goes_while_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, found: list[object] | None
) -> None:
    """On NFS its handle is stale; other trouble must not pass for an empty folder."""
    store = FolderStore(tmp_path)
    store.put_new("run/a", b"1")
    stat = os.stat

    def gone(path: Any, **options: Any) -> Any:
        if path == "a":
            raise OSError(number, os.strerror(number), path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", gone)
    if found is None:
        assert os.strerror(number) in refusal(lambda: store.list("run/"))
    else:
        assert store.list("run/") == found


def test_a_stale_object_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)
    store.put_new("a", b"1")

    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "open", stale)
    with pytest.raises(NotFoundError):
        store.get("a")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_what_is_put_is_as_the_umask_says(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        FolderStore(tmp_path).put_new("a", b"1")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


@pytest.fixture
def linked(tmp_path: Path) -> tuple[FolderStore, Path]:
    """A store in which a link leads to a folder of somebody's, in the place of a run's checkpoints."""
    theirs = tmp_path / "theirs"
    for name in ("000000001/rank-00000.0123abcd.h5", "letter.txt", ".writing-letter"):
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs / name).write_text("precious")
    store = FolderStore(tmp_path / "store")
    store.put_new("run/a", b"1")
    (tmp_path / "store" / "run" / "checkpoints").symlink_to(theirs)
    return store, theirs


def test_a_link_in_the_place_of_a_folder_is_not_followed(linked: tuple[FolderStore, Path]) -> None:
    store, theirs = linked
    before = {path: path.read_text() for path in theirs.rglob("*") if path.is_file()}
    key = "run/checkpoints/000000001/rank-00000.0123abcd.h5"
    for work in (
        lambda: store.list("run/checkpoints/"),
        lambda: store.get(key),
        lambda: store.delete(key),
        lambda: store.discard_unfinished("run/checkpoints/"),
        lambda: store.put_new("run/checkpoints/new", b"1"),
    ):
        text = refusal(work)
        assert "run/checkpoints: is a symbolic link" in text
        assert "the folder itself" in text
    store.discard_unfinished("run/")
    assert store.list("run/") == [("run/a", 1)]
    assert {path: path.read_text() for path in theirs.rglob("*") if path.is_file()} == before


def test_a_link_in_the_place_of_an_object_is_none(linked: tuple[FolderStore, Path]) -> None:
    store, theirs = linked
    link = theirs.parent / "store" / "run" / "b"
    link.symlink_to(theirs / "letter.txt")
    assert store.list("run/") == [("run/a", 1)]
    with pytest.raises(NotFoundError):
        store.get("run/b")
    assert not store.put_new("run/b", b"1")
    store.delete("run/b")
    assert (theirs / "letter.txt").read_text() == "precious"
    assert not link.is_symlink()


def test_what_is_no_file_is_no_object(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    with contextlib.suppress(PermissionError):  # without root there is no device to be made
        os.mknod(tmp_path / "zeros", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    assert store.list("") == []
    for name in os.listdir(tmp_path):
        with pytest.raises(NotFoundError, match="not a regular file"):
            store.get(name, 100)
    listener.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    text = refusal(lambda: open_store(StorageConfig(url=f"file://{tmp_path}/file/below"), tmp_path).check())
    assert str(tmp_path / "file" / "below") in text


def test_a_file_system_without_hard_links_is_told_before_the_first_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    assert "hard links" in refusal(FolderStore(tmp_path).check)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_not_taken_for_one_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    text = refusal(FolderStore(tmp_path).check)
    assert "hard links" not in text
    assert f"{os.strerror(number)}; make room" in text


def test_what_cannot_be_made_below_the_root_is_told_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir

    def refuse(path: Any, *mode: int, **folder: int) -> None:
        if folder:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        real(path, *mode)

    store = FolderStore(tmp_path)
    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(OSError, match="No space left") as caught:
        store.put_new("run/5/a", b"1")
    assert caught.value.filename == f"{tmp_path}/run"


def test_a_file_in_the_place_of_the_root_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError) as caught:
        FolderStore(tmp_path / "file").put_new("a", b"1")
    assert f"{tmp_path}/file: Not a directory; make room or choose" in str(from_os_error(caught.value))


def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path)
    store.put_new("run/a", b"1")
    real = os.open

    def refuse(path: Any, *flags: int, **folder: int) -> int:
        if path == "run":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *flags, **folder)

    monkeypatch.setattr(os, "open", refuse)
    assert "Permission denied" in refusal(lambda: store.list("run/"))
    assert "Permission denied" in refusal(lambda: store.list(""))


def test_an_unreadable_object_is_not_taken_for_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path)
    store.put_new("a", b"1")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert "Permission denied" in refusal(lambda: store.get("a"))


def test_without_an_address_the_given_folder_is_used(tmp_path: Path) -> None:
    open_store(StorageConfig(), tmp_path / "run").put_new("a", b"1")
    assert (tmp_path / "run" / "a").read_bytes() == b"1"


# -- S3 -----------------------------------------------------------------------------------------------


def test_more_keys_than_one_page_holds(bucket: Bucket) -> None:
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    keys = [f"page/{number:05d}" for number in range(21)]
    for key in keys:
        backend.put_object(bucket.name, f"team/runs/{key}", b"1")
    store, pages = s3(bucket), itertools.count()

    def shorten(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        next(pages)
        return {"MaxKeys": 10, **params}

    store._client.meta.events.register("provide-client-params.s3.ListObjectsV2", shorten)
    assert store.list("page/") == [(key, 1) for key in keys]
    assert next(pages) == 3


def test_stores_of_other_prefixes_are_apart(bucket: Bucket) -> None:
    s3(bucket, "team").put_new("a", b"1")
    s3(bucket, "team-2").put_new("a", b"2")
    s3(bucket, "").put_new("b", b"3")
    assert s3(bucket, "team").list("") == [("a", 1)]
    assert s3(bucket, "/team-2/").get("a") == b"2"
    assert s3(bucket, "").list("") == [("b", 1), ("team-2/a", 1), ("team/a", 1)]


@pytest.mark.parametrize(
    ("sse", "key"), [("AES256", ""), ("aws:kms", ""), ("aws:kms", "alias/prices"), ("", "")]
)
def test_encryption_is_asked_for_wherever_an_object_begins(
    bucket: Bucket, smaller_parts: int, sse: str, key: str
) -> None:
    """Documents and checkpoints go by ``put_new``, vectors by ``put``, large ones in parts."""
    config = StorageConfig(
        url=f"s3://{bucket.name}/team", endpoint_url=bucket.endpoint, sse=sse, sse_kms_key=key
    )
    store = open_store(config, Path())
    asked: list[tuple[str, object, object]] = []

    def see(params: dict[str, Any], model: Any, **_: Any) -> None:
        headers = params["headers"]
        asked.append(
            (
                model.name,
                headers.get("x-amz-server-side-encryption"),
                headers.get("x-amz-server-side-encryption-aws-kms-key-id"),
            )
        )

    for operation in ("PutObject", "CreateMultipartUpload"):
        store._client.meta.events.register(f"before-call.s3.{operation}", see)  # type: ignore[attr-defined]
    store.check()
    store.put_new("a", b"1")
    store.put("payloads/small", b"1")
    store.put("payloads/large", bytes(smaller_parts))
    begun = ["PutObject"] * 4 + ["CreateMultipartUpload"]  # ``check`` puts twice
    assert asked == [(name, sse or None, key or None) for name in begun]
    for name in ("a", "payloads/small", "payloads/large"):
        head = bucket.client.head_object(Bucket=bucket.name, Key=f"team/{name}")
        assert head.get("ServerSideEncryption") == (sse or None)
        assert key in head.get("SSEKMSKeyId", "")


@pytest.mark.parametrize("body", [b"Service Unavailable", b"<!DOCTYPE html><p>down", b"", b"<html>no</html>"])
def test_a_gateway_that_answers_for_the_server_is_sat_out(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """What stands before a server, such as nginx, speaks no XML."""
    from botocore.awsrequest import AWSResponse

    from hpc_lstm.storage import retry

    monkeypatch.setattr(retry, "FIRST_S", 0.001)
    store = s3(bucket)
    store.put_new("there", b"1")

    class Raw:
        def stream(self, **_: object) -> Any:
            yield body

        def read(self, *_: object) -> bytes:
            return body

    left: list[int] = []

    def answer(request: Any, **_: object) -> Any:
        if left:
            left.pop()
            return AWSResponse(request.url, 503, {"content-type": "text/plain"}, Raw())
        return None

    store._client.meta.events.register("before-send.s3", answer)
    for work, expected in (
        (lambda: store.put_new("new", b"1"), True),
        (lambda: store.put("newer", b"1"), None),
        (lambda: store.get("there"), b"1"),
        (lambda: store.list("the"), [("there", 1)]),
        (lambda: store.delete("there"), None),
    ):
        left[:] = [1, 2]
        assert work() == expected
        assert not left


def test_a_listing_that_is_none_is_asked_for_again(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.awsrequest import AWSResponse

    store = s3(bucket)
    store.put_new("there", b"1")
    left = [b"<html>log in first", b"plain"]

    class Raw:
        def stream(self, **_: object) -> Any:
            yield left.pop()

    def answer(request: Any, **_: object) -> Any:
        return AWSResponse(request.url, 200, {"content-type": "text/html"}, Raw()) if left else None

    store._client.meta.events.register("before-send.s3.ListObjectsV2", answer)
    assert store.list("") == [("there", 1)]


LOGIN = b"<html><body>log in first</body></html>"  # well-formed: not even a parser of XML finds fault with it


def answers(
    store: S3Store, operation: str, status: int, make: Callable[[], tuple[bytes, dict[str, str]]]
) -> None:
    """Let somebody else than the server answer requests of an operation: ``make`` gives body and headers."""
    from botocore.awsrequest import AWSResponse

    def answer(request: Any, **_: object) -> Any:
        body, headers = make()
        return AWSResponse(request.url, status, headers, Raw(body))

    class Raw:
        def __init__(self, body: bytes) -> None:
            self.body = io.BytesIO(body)

        def stream(self, **_: object) -> Any:
            yield self.body.read()

        def read(self, size: int | None = None) -> bytes:
            return self.body.read(size)

        def close(self) -> None:
            self.body.close()

    store._client.meta.events.register(f"before-send.s3.{operation}", answer)


@pytest.mark.parametrize("body", [LOGIN, b""])
def test_a_page_with_status_200_is_no_answer(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """An empty list would begin a run anew, an object that was not put would count as a checkpoint."""
    from hpc_lstm.storage import retry

    monkeypatch.setattr(retry, "FIRST_S", 0.001)
    store = s3(bucket, timeout_s=0.05)
    for operation in ("ListObjectsV2", "GetObject", "PutObject", "CreateMultipartUpload"):
        answers(store, operation, 200, lambda: (body, {"content-type": "text/html"}))
    for work in (
        store.check,
        lambda: store.list(""),
        lambda: store.get("a"),
        lambda: store.put_new("a", b"1"),
        lambda: store.put("a", b"1"),
        lambda: store.put("a", bytes(17 << 20)),
    ):
        assert "does not speak S3; check storage.endpoint_url" in refusal(work)


@pytest.mark.parametrize("body", [LOGIN, b"default backend - 404", b""])
def test_a_gateways_404_says_nothing_of_an_object(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    from hpc_lstm.storage import retry

    monkeypatch.setattr(retry, "FIRST_S", 0.001)
    store = s3(bucket, timeout_s=0.3)
    store.put_new("there", b"1")
    answers(store, "GetObject", 404, lambda: (body, {"content-type": "text/html"}))
    assert "does not speak S3 (404)" in refusal(lambda: store.get("there"))
    with pytest.raises(NotFoundError):  # so says the list
        store.get("gone")


@pytest.mark.parametrize(
    "headers",
    [
        {"etag": "x"},
        {"etag": "x", "content-length": "many"},
        {"content-length": "10"},
        {"etag": "x", "content-length": "5"},
        {"etag": "x", "content-length": "20"},
    ],
)
def test_headers_that_are_wrong_are_told_and_no_more_is_read_than_they_say(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    from hpc_lstm.storage import retry

    monkeypatch.setattr(retry, "FIRST_S", 0.001)
    store = s3(bucket, timeout_s=0.05)
    answers(store, "GetObject", 200, lambda: (b"0123456789", headers))
    assert "check storage.endpoint_url" in refusal(lambda: store.get("a", 1000))


def test_a_body_that_does_not_end_is_left(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent in chunks, whatever length its header gave."""
    from botocore.response import StreamingBody

    store, taken = s3(bucket, timeout_s=0.05), [0]

    class Endless:
        def read(self, size: int | None = None) -> bytes:
            assert size is not None
            taken[0] += min(size, 3)
            return b"abc"[:size]

        def close(self) -> None:
            """Nothing."""

    def get(**_: object) -> Any:
        taken[0] = 0
        return {"ContentLength": 10, "ETag": "x", "Body": StreamingBody(Endless(), 10)}

    monkeypatch.setattr(store._client, "get_object", get)
    assert "check storage.endpoint_url" in refusal(lambda: store.get("a", 1000))
    assert taken == [11]


@pytest.mark.parametrize("size", [1, 150_000, 900_000])
def test_an_object_that_changes_while_it_is_read_is_not_read_beyond_its_first_size(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    from hpc_lstm.storage import s3 as module

    monkeypatch.setattr(module, "_LARGE", 100_000)
    monkeypatch.setattr(module, "_PART", 30_000)
    limit = 200_000
    store, place = (
        s3(bucket, timeout_s=20 if size > limit else 1),
        {"Bucket": bucket.name, "Key": "team/runs/x"},
    )
    bucket.client.put_object(**place, Body=bytes(limit))
    left = [size]

    def change(**_: object) -> None:
        if left:
            bucket.client.put_object(**place, Body=b"1" * left.pop())

    store._client.meta.events.register("after-call.s3.GetObject", change)
    if size > limit:
        assert len(store.get("x", limit)) == limit
        assert not left
    else:
        refusal(lambda: store.get("x", limit))


def listing(keys: list[str], token: str) -> bytes:
    """A page of a list, with the token of the next one."""
    entries = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
    end = more if token else "<IsTruncated>false</IsTruncated>"
    return f"<ListBucketResult>{end}{entries}</ListBucketResult>".encode()


DRIP_S = 0.05


class Dripping(http.server.BaseHTTPRequestHandler):
    """Sends a byte now and then, and so is never silent for long."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_DELETE(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.send_response(200)
        if "late" in self.path:
            self.wfile.write(b"".join(self._headers_buffer))
        else:
            self.send_header("ETag", '"x"')
            self.send_header("Content-Length", "1000000")
            self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"x")
                time.sleep(DRIP_S)


@pytest.mark.parametrize(
    "call", [lambda s: s.get("a"), lambda s: s.get("late"), lambda s: s.list("a"), lambda s: s.delete("a")]
)
def test_an_answer_that_drips_is_given_up(
    s3_credentials: None, monkeypatch: pytest.MonkeyPatch, call: Callable[[ObjectStore], Any]
) -> None:
    from hpc_lstm.storage import s3 as module

    monkeypatch.setattr(module, "_READ_S", 20 * DRIP_S)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        store = S3Store("bucket", "team", address, "", 20 * DRIP_S)
        begun = time.monotonic()
        assert "cannot be reached (ReadTimeoutError)" in refusal(lambda: call(store))
        assert time.monotonic() - begun < 30
        server.shutdown()


def test_a_body_that_comes_slowly_after_a_fast_start_is_read(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Body:
        """Sends 2 MiB at once, and then what is as slow as it may be."""

        pieces = 0

        def read(self, size: int) -> bytes:
            self.pieces += 1
            time.sleep(0.2 * (64 < self.pieces <= 72))
            return b"x" * size if self.pieces <= 72 else b""

    store = s3(bucket)
    monkeypatch.setattr(store._options, "read_timeout", 0.6)
    assert len(store._read({"Body": Body()}, 72 << 15)) == 72 << 15


@pytest.mark.parametrize(
    ("keys", "tokens"), [(["a"], 1), (["a"], 3), ([], 1_000_000), (["a", "b"], 1_000_000)]
)
def test_a_list_without_an_end_is_left(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, keys: list[str], tokens: int
) -> None:
    from hpc_lstm.storage import s3 as module

    monkeypatch.setattr(module, "_MOST_KEYS", 10)
    monkeypatch.setattr(module, "_MOST_EMPTY_PAGES", 10)
    store, asked = s3(bucket), itertools.count()
    answers(
        store,
        "ListObjectsV2",
        200,
        lambda: (listing([f"team/runs/{key}" for key in keys], f"t{next(asked) % tokens}"), {}),
    )
    assert "comes to no end" in refusal(lambda: store.list(""))
    assert next(asked) <= 12


def test_what_a_list_says_of_other_places_is_left_out(bucket: Bucket) -> None:
    store = s3(bucket)
    answers(store, "ListObjectsV2", 200, lambda: (listing(["elsewhere/a", "team/runs/b", "team/b"], ""), {}))
    assert store.list("") == [("b", 1)]


def test_credentials_of_the_machine_alone_are_enough(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, smaller_parts: int
) -> None:
    """As on an instance of EC2 that has a role."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    with metadata_service() as (address, asked):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", address)
        store = s3(bucket)
        signed: list[tuple[bytes | str, bytes | str]] = []

        def see(request: Any, **_: object) -> None:
            signed.append((request.headers["Authorization"], request.headers["X-Amz-Security-Token"]))

        store._client.meta.events.register("before-send.s3", see)
        store.check()
        store.put("payloads/x", bytes(smaller_parts))
        assert store.list("") == [("payloads/x", smaller_parts)]
    assert asked[0] == ("PUT", "/latest/api/token")
    assert all("Credential=ASIAROLE/" in str(key) and "of-the-role" in str(token) for key, token in signed)


@contextlib.contextmanager
def metadata_service() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """What tells an instance of EC2 about itself, version 2: its address, and what it was asked."""
    asked: list[tuple[str, str]] = []
    place = "/latest/meta-data/iam/security-credentials/"
    until = (datetime.now(timezone.utc) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
    credentials = {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": "2026-01-01T00:00:00Z",
        "Expiration": until,
        "AccessKeyId": "ASIAROLE",
        "SecretAccessKey": SECRET_KEY,
        "Token": "of-the-role",
    }

    class Service(http.server.BaseHTTPRequestHandler):
        def say(self) -> None:
            asked.append((self.command, self.path))
            known = self.headers.get("x-aws-ec2-metadata-token") == "session"
            answers = {place: "the-role", f"{place}the-role": json.dumps(credentials)} if known else {}
            if self.command == "PUT":
                answers = {"/latest/api/token": "session"}
            self.send_response(200 if self.path in answers else 401)
            self.end_headers()
            self.wfile.write(answers.get(self.path, "").encode())

        do_GET = do_PUT = say

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def test_large_objects_whose_parts_break_off_again_and_again_are_told_in_one_line(
    bucket: Bucket, smaller_parts: int
) -> None:
    from botocore.exceptions import ReadTimeoutError

    s3(bucket).put("payloads/x", bytes(smaller_parts))
    store = s3(bucket, timeout_s=1)

    def fail(params: dict[str, Any], **_: Any) -> None:
        if "Range" in params["headers"]:
            raise ReadTimeoutError(endpoint_url=bucket.endpoint)

    store._client.meta.events.register("before-call.s3.GetObject", fail)
    assert "cannot be reached" in refusal(lambda: store.get("payloads/x"))


def test_keys_that_are_none_of_ours_are_not_listed(bucket: Bucket) -> None:
    """A console's folders, and what somebody else may put there to stop whoever reads or deletes what is listed."""
    s3(bucket).put_new("run/a", b"1")
    for key in ("", "run/", "run//x", "run/../../x", "run/./x"):
        bucket.client.put_object(Bucket=bucket.name, Key=f"team/runs/{key}", Body=b"")
    assert s3(bucket).list("") == [("run/a", 1)]
    assert s3(bucket).list("run/") == [("run/a", 1)]


def error_of(status: int, code: str) -> Exception:
    from botocore.exceptions import ClientError

    message = f"the server's own words,\nwith {SECRET_KEY}"
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Put"
    )


def connection_error() -> Exception:
    from botocore.exceptions import ConnectionClosedError

    return ConnectionClosedError(endpoint_url="http://127.0.0.1")


def failing_client(
    store: S3Store,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    errors: list[Exception],
    *,
    after: bool = False,
) -> list[int]:
    """Let the client's next calls fail with these errors, ``after`` they were done if so wanted; counts calls."""
    real, calls = getattr(store._client, method), []

    def call(**request: Any) -> Any:
        calls.append(1)
        if not errors:
            return real(**request)
        if after:
            real(**request)
        raise errors.pop(0)

    monkeypatch.setattr(store._client, method, call)
    return calls


@pytest.mark.parametrize("error", [connection_error, lambda: error_of(500, "InternalError")])
def test_a_put_whose_answer_is_lost_has_created(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]
) -> None:
    store = s3(bucket)
    calls = failing_client(store, monkeypatch, "put_object", [error()], after=True)
    assert store.put_new("a", b"mine")
    assert len(calls) == 2
    assert store.get("a") == b"mine"


def test_a_lost_put_does_not_claim_what_another_created(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = s3(bucket)
    for key, theirs in (("a", b"hers"), ("b", b"much longer than mine")):
        s3(bucket).put_new(key, theirs)
        failing_client(store, monkeypatch, "put_object", [connection_error()])
        assert not store.put_new(key, b"mine")
        assert store.get(key) == theirs


def test_after_a_conflict_of_writers_the_same_bytes_are_not_ours(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = s3(bucket)
    s3(bucket).put_new("a", b"both")
    failing_client(store, monkeypatch, "put_object", [error_of(409, "ConditionalRequestConflict")])
    assert not store.put_new("a", b"both")


@pytest.mark.parametrize("method", ["put_object", "get_object", "list_objects_v2", "delete_object"])
def test_passing_trouble_is_sat_out(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    from hpc_lstm.storage import retry

    monkeypatch.setattr(retry, "FIRST_S", 0.001)
    store = s3(bucket)
    store.put_new("there", b"1")
    work = {
        "put_object": lambda: store.put_new("new", b"1"),
        "get_object": lambda: store.get("there"),
        "list_objects_v2": lambda: store.list(""),
        "delete_object": lambda: store.delete("there"),
    }[method]
    errors = [
        error_of(409, "ConditionalRequestConflict"),
        error_of(429, "TooManyRequests"),
        error_of(500, "InternalError"),
        error_of(503, "SlowDown"),
        connection_error(),
    ]
    calls = failing_client(store, monkeypatch, method, errors)
    assert work() in (True, b"1", [("there", 1)], None)
    assert len(calls) == 6


def test_a_body_that_breaks_off_is_read_again(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import IncompleteReadError, ResponseStreamingError

    store = s3(bucket)
    store.put_new("a", b"12345")
    real, errors = (
        store._client.get_object,
        [
            IncompleteReadError(actual_bytes=2, expected_bytes=5),
            ResponseStreamingError(error="reset"),
        ],
    )

    class Breaking:
        def __init__(self, body: Any) -> None:
            self.body = body

        def read(self, size: int) -> bytes:
            if errors:
                raise errors.pop()
            return self.body.read(size)

    def get(**request: Any) -> Any:
        answer = real(**request)
        return {**answer, "Body": Breaking(answer["Body"])}

    monkeypatch.setattr(store._client, "get_object", get)
    assert store.get("a") == b"12345"
    assert not errors


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "AccessDenied", "credentials"),
        (403, "SignatureDoesNotMatch", "credentials"),
        (400, "ExpiredToken", "credentials"),
        (403, "RequestTimeTooSkewed", "the clock of this machine or of the server"),
        (403, "QuotaExceeded", "a quota is used up"),
        (400, "IllegalLocationConstraintException", "AWS_DEFAULT_REGION"),
        (404, "NoSuchBucket", "no bucket"),
        (501, "NotImplemented", "conditional"),
        (418, "Odd\ncode", "Odd code"),
    ],
)
def test_refusals_are_one_line_each_and_final(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, status: int, code: str, advice: str
) -> None:
    store = s3(bucket)
    bucket.client.put_object(Bucket=bucket.name, Key="team/runs/a", Body=b"1")
    for method, work in (
        ("put_object", lambda: store.put_new("a", b"1")),
        ("get_object", lambda: store.get("a")),
        ("list_objects_v2", lambda: store.list("a")),
        ("delete_object", lambda: store.delete("a")),
    ):
        calls = failing_client(store, monkeypatch, method, [error_of(status, code)] * 9)
        text = refusal(work)
        assert advice in text
        assert text.startswith(f"s3://{bucket.name}/team/runs/a: ")
        assert len(calls) == 1


def test_trouble_that_does_not_pass_is_told_after_the_timeout(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = s3(bucket, timeout_s=0.3)
    calls = failing_client(store, monkeypatch, "put_object", [error_of(503, "SlowDown")] * 10_000)
    began = time.monotonic()
    assert "SlowDown" in refusal(lambda: store.put_new("a", b"1"))
    assert time.monotonic() - began < 10
    assert len(calls) > 1


# -- S3: looked at before a run begins ----------------------------------------------------------------


def test_a_bucket_that_is_not_there(bucket: Bucket) -> None:
    config = StorageConfig(url="s3://no-such-bucket-1/x", endpoint_url=bucket.endpoint)
    text = refusal(lambda: open_store(config, Path()).check())
    assert 'no bucket "no-such-bucket-1"' in text


def test_a_name_that_no_bucket_can_have(bucket: Bucket) -> None:
    config = StorageConfig(url="s3://no bucket!/x", endpoint_url=bucket.endpoint)
    assert "not a valid bucket name" in refusal(lambda: open_store(config, Path()).check())


@pytest.mark.parametrize("method", ["put_object", "list_objects_v2"])
def test_access_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    store = s3(bucket)
    failing_client(store, monkeypatch, method, [error_of(403, "AccessDenied")])
    assert "access refused (AccessDenied)" in refusal(store.check)


class Clock:
    """Time that passes while somebody sleeps, and a hundredth of a second at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.01
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def nobody() -> Exception:
    from botocore.exceptions import EndpointConnectionError

    return EndpointConnectionError(endpoint_url="http://nobody")


def closed() -> Exception:
    from botocore.exceptions import ConnectionClosedError

    return ConnectionClosedError(endpoint_url="http://busy")


@pytest.mark.parametrize(
    ("first", "least_s", "most_s"),
    [
        pytest.param(nobody, 4, 12, id="nobody is there"),
        pytest.param(lambda: error_of(404, ""), 4, 12, id="something that does not speak S3"),
        pytest.param(lambda: error_of(503, "SlowDown"), 20, 60, id="a busy server"),
        pytest.param(closed, 20, 60, id="a server that breaks off"),
    ],
)
def test_the_first_look_waits_longer_for_a_busy_server_than_for_nobody(
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    first: Callable[[], Exception],
    least_s: float,
    most_s: float,
) -> None:
    from hpc_lstm.storage import retry
    from hpc_lstm.storage import s3 as module

    clock, store = Clock(), s3(bucket, timeout_s=300)
    monkeypatch.setattr(module, "time", clock)
    again = functools.partial(retry.retry, sleep=clock.sleep, clock=clock.monotonic)
    monkeypatch.setattr(module, "retry", again)
    monkeypatch.setattr(retry.random.SystemRandom, "uniform", lambda self, low, high: high / 2)
    failing_client(store, monkeypatch, "list_objects_v2", [first(), *(nobody() for _ in range(99))])
    assert refusal(store.check)
    assert least_s < clock.now < most_s


def test_no_server_there(s3_credentials: None) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        config = StorageConfig(url="s3://bucket/x", endpoint_url=endpoint, timeout_s=0.5)
        began = time.monotonic()
        assert "cannot be reached" in refusal(lambda: open_store(config, Path()).check())
    assert time.monotonic() - began < 20


def test_credentials_that_somebody_renews_in_their_file_are_read_again(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    def write(key: str) -> None:
        file.write_text(
            f"[default]\naws_access_key_id = {key}\naws_secret_access_key = y\naws_session_token = t\n"
        )

    write("OLD")
    store = s3(bucket)
    store.put_new("a", b"1")
    expired = error_of(400, "ExpiredToken")

    def refuse(**_: object) -> None:
        raise expired

    for method in ("put_object", "get_object", "list_objects_v2", "delete_object"):
        monkeypatch.setattr(store._client, method, refuse)
    assert "check the credentials" in refusal(lambda: store.get("a"))
    write("NEW")
    assert store.get("a") == b"1"
    assert store.put_new("b", b"2")
    assert [key for key, _ in store.list("")] == ["a", "b"]


@pytest.mark.parametrize("what", ["configuration", "region"])
def test_what_of_awss_settings_is_wrong_is_named(
    s3_credentials: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "configuration":
        (tmp_path / "garbage").write_text("garbage\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "garbage"))
    else:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us east 1")
    config = StorageConfig(url="s3://bucket/x", endpoint_url="http://127.0.0.1:9", timeout_s=1)
    text = refusal(lambda: open_store(config, Path()).check())
    assert {"configuration": "AWS_CONFIG_FILE", "region": "AWS_DEFAULT_REGION"}[what] in text


def test_no_credentials(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    config = StorageConfig(url=f"s3://{bucket.name}", endpoint_url=bucket.endpoint)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "AWS_SECRET_ACCESS_KEY" in refusal(lambda: open_store(config, Path()).check())
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "no usable credentials" in refusal(lambda: open_store(config, Path()).check())
    monkeypatch.setenv("AWS_PROFILE", "none-such")
    assert "AWS_PROFILE" in refusal(lambda: open_store(config, Path()).check())


@pytest.mark.parametrize("endpoint", ["localhost:9000", f"user:{SECRET_KEY}@host", "nonsense", "http://"])
def test_an_endpoint_that_is_no_address(s3_credentials: None, endpoint: str) -> None:
    assert "storage.endpoint_url" in refusal(lambda: S3Store("bucket", "x", endpoint, "", 0.3).check())


def test_a_server_that_knows_no_conditional_writes(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    store = s3(bucket)
    real = store._client.put_object
    monkeypatch.setattr(store._client, "put_object", lambda IfNoneMatch, **request: real(**request))
    assert "If-None-Match" in refusal(store.check)


def test_looking_leaves_nothing_to_be_listed_and_can_be_repeated(bucket: Bucket) -> None:
    stores = [s3(bucket) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(S3Store.check, stores * 3))
    assert stores[0].list("") == []
    assert len(bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]) == 1


# -- vectors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16 << 20, (16 << 20) + 1, (24 << 20) + 3])
def test_a_vector_of_several_parts_comes_back(store: ObjectStore, size: int) -> None:
    come_back(store, size)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 2_500_003])
def test_vectors_of_all_sizes_come_back_and_may_be_put_twice(
    store: ObjectStore, smaller_parts: int, size: int
) -> None:
    come_back(store, size)


def come_back(store: ObjectStore, size: int) -> None:
    """Put a vector twice, and get it."""
    data = os.urandom(size)
    store.put("payloads/x", data)
    store.put("payloads/x", data)
    assert store.get("payloads/x", size) == data
    if size:
        with pytest.raises(TooLargeError):
            store.get("payloads/x", size - 1)


def test_a_part_that_fails_leaves_no_upload_behind(bucket: Bucket) -> None:
    objects = s3(bucket)
    objects._timeout_s = 0.1  # of retries alone: a busy server may take longer for an answer
    calls = []

    def fail(**kwargs: Any) -> None:
        calls.append(kwargs)
        raise ConnectionError("the network is gone")

    objects._client.meta.events.register("before-call.s3.UploadPart", fail)
    with pytest.raises(ConnectionError):
        objects.put("payloads/x", bytes(40 << 20))
    assert calls
    left = bucket.client.list_multipart_uploads(Bucket=bucket.name)
    assert "Uploads" not in left
    with pytest.raises(NotFoundError):
        objects.get("payloads/x")


def test_who_may_list_below_a_prefix_only_is_told_what_is_missing(bucket: Bucket) -> None:
    """S3 then answers 403 where there is no object."""
    from botocore.exceptions import ClientError

    objects = s3(bucket)
    objects.put_new("there", b"x")
    refused = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}

    def refuse(**kwargs: Any) -> None:
        raise ClientError(refused, "GetObject")

    objects._client.get_object = refuse
    with pytest.raises(NotFoundError):
        objects.get("missing")
    assert "access refused" in refusal(lambda: objects.get("there"))
