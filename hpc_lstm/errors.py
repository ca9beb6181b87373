"""The errors that a user meets, one class per kind of trouble, each with its exit code.

A message is one line: what is wrong, where, and how to put it right. ``cli.main`` prints it on stderr
without a traceback and exits with ``exit_code``.
"""

from __future__ import annotations


class HpcLstmError(Exception):
    """Base of all errors whose message is meant for the user.

    Attributes:
        agreed: every rank raises this error at the same place, so rank 0 alone prints it and nobody aborts.
    """

    exit_code = 1
    agreed = False


class InputError(HpcLstmError):
    """Something the user gave is wrong: a key, a file, a row, a folder, an address."""

    exit_code = 2


class ConfigError(InputError):
    """The configuration is wrong: the message names the key and what it takes."""


class StoreError(InputError):
    """A market store cannot be read or written: the message names the file."""


class CsvError(InputError):
    """A CSV cannot be imported: the message names the file and the line."""


class StorageError(InputError):
    """The object store (folder or S3) is missing, refused or misconfigured."""


class CheckpointError(HpcLstmError):
    """Checkpoints could not be kept: uploads failed more often than ``storage.max_failures``."""


class StopRequested(HpcLstmError):
    """The run was asked to stop and has written a checkpoint: run again with ``--resume``."""

    exit_code = 75
