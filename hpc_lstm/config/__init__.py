"""Every setting of a run: its name, default, unit and check; a module for the sections of one subject.

``load`` reads a TOML file and ``--set`` overrides into a ``RunConfig``; ``dump`` writes the resolved one back.
An unknown key is refused with the nearest known name; a wrong value with what the key takes.
"""

from hpc_lstm.config.averaging import AGREE_STEPS, AverageConfig, SyncConfig
from hpc_lstm.config.by_key import (
    differences,
    digest,
    flat_settings,
    free_on_resume,
    get,
    keys,
    shared_by_clusters,
    shared_settings,
)
from hpc_lstm.config.data import DataConfig
from hpc_lstm.config.loading import (
    dump,
    load,
    load_saved,
    overrides_named,
    parse,
    parse_saved,
    with_left_out_of,
)
from hpc_lstm.config.model import ForecastConfig, ModelConfig
from hpc_lstm.config.run import RunConfig
from hpc_lstm.config.section import LARGEST, NameIn, Positive, Section
from hpc_lstm.config.storage import CheckpointConfig, StorageConfig
from hpc_lstm.config.tables import (
    check_sections,
    check_value,
    nearest_name,
    section_fields,
    validate_sections,
)
from hpc_lstm.config.toml_file import read_toml
from hpc_lstm.config.train import DEFAULT_LOSS, TrainConfig

__all__ = [
    "AGREE_STEPS",
    "DEFAULT_LOSS",
    "LARGEST",
    "AverageConfig",
    "CheckpointConfig",
    "DataConfig",
    "ForecastConfig",
    "ModelConfig",
    "NameIn",
    "Positive",
    "RunConfig",
    "Section",
    "StorageConfig",
    "SyncConfig",
    "TrainConfig",
    "check_sections",
    "check_value",
    "differences",
    "digest",
    "dump",
    "flat_settings",
    "free_on_resume",
    "get",
    "keys",
    "load",
    "load_saved",
    "nearest_name",
    "overrides_named",
    "parse",
    "parse_saved",
    "read_toml",
    "section_fields",
    "shared_by_clusters",
    "shared_settings",
    "validate_sections",
    "with_left_out_of",
]
