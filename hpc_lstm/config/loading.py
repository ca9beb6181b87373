"""A run's settings from a TOML file, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpc_lstm.config.run import RunConfig
from hpc_lstm.config.tables import check_sections, validate_sections
from hpc_lstm.config.toml_file import override, read_toml
from hpc_lstm.errors import ConfigError
from hpc_lstm.files import checked_path

# Defaults that have changed, as they were: a run writes all of its settings, so that what an older run's file leaves
# out is what its version did not know.
FORMER_DEFAULTS: dict[str, dict[str, Any]] = {
    "data": {"split_by": "symbol", "features": ["close"], "target": "close", "scaling": "minmax"}
}


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a TOML file, apply ``section.key=value`` overrides, and check everything.

    Args:
        path: the TOML file.
        overrides: texts such as ``train.epochs=3``; the value is TOML, or a bare word taken as text.

    Returns:
        The checked settings, with ``data.store`` made absolute.

    Raises:
        ConfigError: file missing, not TOML, unknown key, wrong type or range; one line that names it.
        InputError: the path of ``data.store`` is not UTF-8.
    """
    path = Path(path)
    tables = read_toml(path, "config", "examples/quickstart.toml")
    for text in overrides:
        override(tables, text)
    with overrides_named(str(path), overrides):
        config = parse(tables, str(path))
        try:
            store = Path(config.data.store).expanduser()
        except RuntimeError:
            raise ConfigError(f'{path}: data.store: no such home folder: "{config.data.store}"') from None
    if not store.is_absolute():
        store = (path.parent / store).resolve()
    store = checked_path(store)
    return config.model_copy(update={"data": config.data.model_copy(update={"store": str(store)})})


@contextmanager
def overrides_named(where: str, overrides: Sequence[str]) -> Iterator[None]:
    """For a block that checks settings: what is wrong with a key that was overridden is said of the override.

    Args:
        where: source of the other settings, with which errors begin.
    """
    try:
        yield
    except ConfigError as error:
        message = str(error).removeprefix(f"{where}: ")
        for key in (text.partition("=")[0].strip() for text in overrides):
            if message.startswith(f"{key}: "):
                raise ConfigError(f"--set {message}") from None
            if message.startswith(f"[{key.partition('.')[0]}]: "):  # no such section
                raise ConfigError(f"--set {key}: {message}") from None
        raise


def load_saved(path: Path) -> RunConfig:
    """Read the settings that a run has written; what one of an older version leaves out is as it was then.

    Raises:
        ConfigError: as ``load``; or it is not a regular file.
    """
    if path.exists() and not path.is_file():  # a FIFO would keep this process waiting
        raise ConfigError(f"{path}: cannot be read: it is not a regular file")
    return _filled(load(path), FORMER_DEFAULTS)


def parse_saved(tables: dict[str, Any], where: str) -> RunConfig:
    """``parse`` for settings that a run has written: see ``load_saved``."""
    return _filled(parse(tables, where), FORMER_DEFAULTS)


def with_left_out_of(run: RunConfig, config: RunConfig) -> RunConfig:
    """Settings to resume a run with: what the file leaves out is as in the run where the default has changed."""
    return _filled(config, {name: dict(getattr(run, name)) for name in FORMER_DEFAULTS})


def _filled(config: RunConfig, values: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    """Settings in which the keys of ``FORMER_DEFAULTS`` that were left out have other values."""
    sections = {}
    for name, former in FORMER_DEFAULTS.items():
        section = getattr(config, name)
        left_out = former.keys() - section.model_fields_set
        sections[name] = section.model_copy(update={key: values[name][key] for key in left_out})
    return config.model_copy(update=sections)


def parse(tables: dict[str, Any], where: str) -> RunConfig:
    """Check nested tables of settings; ``where`` names their source in errors.

    Raises:
        ConfigError: one line on the first wrong key.
    """
    check_sections(RunConfig, tables, where)
    config = validate_sections(RunConfig, tables, where)
    if config.sync.cluster and not config.storage.url:
        raise ConfigError(
            f'{where}: sync.cluster: clusters meet at an object store; set storage.url = "s3://bucket/prefix", or '
            '"file:///folder" on storage that they share'
        )
    if config.sync.cluster and config.average.every == 0:
        raise ConfigError(
            f"{where}: average.every: 0 leaves the ranks with different weights, but a cluster contributes one set of "
            "weights; set average.every = 16"
        )
    return config


def dump(config: RunConfig) -> str:
    """The resolved settings as TOML, every key written out."""
    import tomli_w

    return tomli_w.dumps(config.model_dump())
