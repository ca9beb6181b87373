"""The sections [checkpoint] and [storage]: how often state is written, how much is kept, and where."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from hpc_lstm.config.section import FREE_ON_RESUME, Positive, Section


class CheckpointConfig(Section):
    """How often the state of all ranks is written, and how much of it is kept."""

    every: Positive | Literal["epoch"] = Field(
        500, description='Steps between checkpoints, or "epoch".', json_schema_extra=FREE_ON_RESUME
    )
    keep: Positive = Field(
        3,
        description="Newest checkpoints kept, in addition to the one with the best validation loss.",
        json_schema_extra=FREE_ON_RESUME,
    )


class StorageConfig(Section):
    """Where checkpoints go: the run directory, another folder, or S3."""

    url: str = Field(
        "",
        description="`file:///folder`, the same as `/folder`, or `s3://bucket/prefix`; empty: the run directory. "
        "Checkpoints go to `<url>/<name of the run directory>/checkpoints/`, or those of clusters that share a run to "
        "`<url>/_shared/checkpoints/`, with `sync.run` in place of either name where that is set.",
        json_schema_extra=FREE_ON_RESUME,
    )
    endpoint_url: str = Field(
        "",
        description="Address of an S3 server other than AWS, such as Ceph or MinIO.",
        json_schema_extra=FREE_ON_RESUME,
    )
    sse: Literal["", "AES256", "aws:kms"] = Field(
        "", description="Server-side encryption to request from S3.", json_schema_extra=FREE_ON_RESUME
    )
    sse_kms_key: str = Field(
        "",
        description='Name, alias or ARN of the key of `sse = "aws:kms"`; empty: the one that AWS keeps for S3.',
        json_schema_extra=FREE_ON_RESUME,
    )
    max_failures: Positive = Field(
        3,
        description="Checkpoints in a row that may fail to upload before the run is stopped.",
        json_schema_extra=FREE_ON_RESUME,
    )
    timeout_s: float = Field(
        120.0,
        gt=0,
        description="Seconds that one object may take, retries included, before it counts as failed.",
        json_schema_extra=FREE_ON_RESUME,
    )

    @field_validator("url")
    @classmethod
    def _path_is_url(cls, url: str) -> str:
        return f"file://{url}" if url.startswith("/") else url

    @model_validator(mode="after")
    def _check(self) -> StorageConfig:
        # An address with credentials in it would end up in config.toml, logs and messages.
        for name in ("url", "endpoint_url"):
            if "\0" in getattr(self, name):
                raise ValueError(f"{name}: has a null byte, which no address has")
            if "@" in getattr(self, name):
                raise ValueError(
                    f"{name}: must hold no credentials; boto3 reads them from the environment or ~/.aws"
                )
        return self
