"""Settings: defaults, overrides, refusals, and what a resumed run may change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm import config
from hpc_lstm.config.toml_file import tomllib
from hpc_lstm.errors import ConfigError

MINIMAL = '[data]\nstore = "market.h5"\n'


@pytest.fixture
def write(tmp_path: Path):
    def write_config(text: str) -> Path:
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_config


def test_defaults_are_those_of_the_design(write, tmp_path: Path) -> None:
    settings = config.load(write(MINIMAL))
    assert settings.data.store == str(tmp_path / "market.h5")
    assert settings.data.symbols == "all"
    assert settings.data.features == ["log-returns(adjusted)"]
    assert settings.data.target == "log-returns(adjusted)"
    assert (settings.data.window, settings.data.horizon) == (60, 1)
    assert settings.data.split == [0.7, 0.15, 0.15]
    assert (settings.data.scaling, settings.data.feature_range) == ("standard", [0.0, 1.0])
    assert (settings.model.layers, settings.model.units, settings.model.dropout) == (2, 64, 0.2)
    assert (settings.train.engine, settings.train.backend, settings.train.precision) == (
        "auto",
        "auto",
        "float32",
    )
    assert (settings.average.every, settings.average.what) == (16, "weights")
    assert (settings.checkpoint.every, settings.checkpoint.keep) == (500, 3)
    assert settings.storage.url == ""


def test_store_is_relative_to_the_config_file_and_home_is_known(write, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert config.load(write('[data]\nstore = "../m.h5"\n')).data.store == str(tmp_path.parent / "m.h5")
    assert config.load(write('[data]\nstore = "~/m.h5"\n')).data.store == "/home/someone/m.h5"
    assert config.load(write('[data]\nstore = "/data/m.h5"\n')).data.store == "/data/m.h5"


def test_overrides_win_and_take_toml_or_bare_words(write) -> None:
    settings = config.load(
        write(MINIMAL + "[train]\nepochs = 3\n"),
        [
            "train.epochs=7",
            "train.learning_rate = 1",
            "data.target=log-returns(open)",
            'data.symbols=["AAPL", "IBM"]',
            "average.every=epoch",
            "train.deterministic=true",
            "storage.url=s3://bucket/a=b",
        ],
    )
    assert settings.train.epochs == 7
    assert settings.train.learning_rate == 1.0
    assert isinstance(settings.train.learning_rate, float)
    assert settings.data.target == "log-returns(open)"
    assert settings.data.symbols == ["AAPL", "IBM"]
    assert settings.average.every == "epoch"
    assert settings.train.deterministic is True
    assert settings.storage.url == "s3://bucket/a=b"


def test_the_last_override_wins(write) -> None:
    assert config.load(write(MINIMAL), ["train.epochs=2", "train.epochs=4"]).train.epochs == 4


def test_whole_numbers_stand_for_floats_but_not_the_other_way(write) -> None:
    settings = config.load(write(MINIMAL + "split = [1, 0, 0]\nfeature_range = [-1, 1]\n"))
    assert settings.data.split == [1.0, 0.0, 0.0]
    assert settings.data.feature_range == [-1.0, 1.0]
    with pytest.raises(ConfigError, match=r"data\.window: .*whole number, got 60\.0"):
        config.load(write(MINIMAL + "window = 60.0\n"))


def test_split_takes_dates_of_toml_too(write) -> None:
    for text in ('["2010-01-01", "2012-01-01"]', "[2010-01-01, 2012-01-01]"):
        data = config.load(write(MINIMAL + f"split = {text}\n")).data
        assert (data.split_dates, data.split_shares) == (["2010-01-01", "2012-01-01"], None)


def test_what_a_run_wrote_before_there_was_a_split_by_date_is_split_by_symbol(write) -> None:
    assert config.load(write(MINIMAL)).data.split_by == "date"
    assert config.load_saved(write(MINIMAL)).data.split_by == "symbol"
    assert config.load_saved(write(MINIMAL + 'split_by = "date"\n')).data.split_by == "date"
    assert config.parse_saved({"data": {"store": "m.h5"}}, "checkpoint").data.split_by == "symbol"


def test_a_resumed_run_keeps_the_split_that_the_file_does_not_name(write) -> None:
    old, silent = config.load_saved(write(MINIMAL)), config.load(write(MINIMAL))
    assert config.with_left_out_of(old, silent).data.split_by == "symbol"
    asked = config.load(write(MINIMAL + 'split_by = "date"\n'))
    assert config.with_left_out_of(old, asked).data.split_by == "date"


def test_what_an_older_run_leaves_out_is_its_versions_default(write) -> None:
    old = config.load_saved(write(MINIMAL)).data
    assert (old.features, old.target, old.scaling) == (["close"], "close", "minmax")
    resumed = config.with_left_out_of(config.load_saved(write(MINIMAL)), config.load(write(MINIMAL))).data
    assert (resumed.features, resumed.target, resumed.scaling) == (["close"], "close", "minmax")
    asked = config.load_saved(write(MINIMAL + 'target = "log-returns"\n')).data
    assert (asked.features, asked.target) == (["close"], "log-returns")


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert config.load(path).data.window == 60


REFUSED = [
    # text after [data] store, part of the message
    ("windw = 3", 'data.windw: no such key; did you mean "window"?'),
    ("window = 0", "data.window: must be greater than 0, got 0"),
    ("window = true", "data.window: must be a whole number, got True"),
    ('window = "60"', "data.window: must be a whole number, got '60'"),
    (
        "horizon = -1",
        "data.horizon: must be greater than 0 or a list or text, got -1",
    ),
    ("horizon = [1, -2]", "data.horizon: must be greater than 0, got -2"),
    ("symbols = []", 'data.symbols: name at least one, or "all"'),
    ("symbols = ['A', 1]", "data.symbols: must be text, got 1"),
    ("symbols = 'AAPL'", "data.symbols: must be 'all' or a list, got 'AAPL'; write [\"AAPL\"]"),
    ("symbols = ['A', 'B', 'A']", 'data.symbols: "A" is named twice'),
    ("symbols = ['A', 1]", "data.symbols: "),
    ("features = []", "data.features: name at least one"),
    ("features = 'close'", "data.features: must be a list, got 'close'; write [\"close\"]"),
    (
        "features = 'sma(close, 5)'",
        "data.features: must be a list, got 'sma(close, 5)'; write [\"sma(close, 5)\"]",
    ),
    ("features = ['close', 'close']", 'data.features: "close" is named twice'),
    ("split = [0.7, 0.2, 0.2]", "data.split: must sum to 1, got [0.7, 0.2, 0.2] (sum 1.1)"),
    ("split = [0.5, 0.5]", "data.split: must be 3 shares, of train, validation and test, got [0.5, 0.5]"),
    ('split = ["2010-01-01"]', "data.split: must be 3 shares, or 2 dates"),
    ('split = ["soon", "later"]', 'data.split: "soon" is not a date'),
    ('split = ["2012-01-01", "2010-01-01"]', "data.split: validation must begin before test"),
    (
        'split = ["2010-01-01", "2012-01-01"]\nsplit_by = "symbol"',
        "data.split: dates are the same for all symbols",
    ),
    ("split = [1.5, -0.5, 0.0]", "data.split: must be less than or equal to 1"),
    ("split = [0, 0.5, 0.5]", "data.split: the first share (train) must be above 0"),
    ("scaling = 'robust'", "data.scaling: must be 'minmax' or 'standard', got 'robust'"),
    ("feature_range = [1, 0]", "data.feature_range: must be [low, high] with low < high"),
    (
        "feature_range = [0, 1, 2]",
        "data.feature_range: must be a list of at most 2 items, got [0.0, 1.0, 2.0]",
    ),
    ("shard = '1 of 2'", "data.shard: must be a share such as \"1/2\", the first of two, got '1 of 2'"),
    ("feature_range = [nan, 1]", "data.feature_range: must be a finite number"),
    ("[model]\nlayers = 0", "model.layers: must be greater than 0, got 0"),
    ("[model]\nunit = 8", 'model.unit: no such key; did you mean "units"?'),
    ("[model]\ndropout = 1.0", "model.dropout: must be less than 1, got 1.0"),
    ("[train]\nepochs = 1.5", "train.epochs: must be a whole number, got 1.5"),
    ("[train]\nlearning_rate = inf", "train.learning_rate: must be a finite number"),
    ("[train]\nlearning_rate = 1" + "0" * 400, "train.learning_rate: "),
    ("[train]\nseed = 2147483648", "train.seed: must be less than 2147483648"),
    ("[train]\nschedule = 'linear'", "train.schedule: must be 'constant' or 'cosine', got 'linear'"),
    ("[train]\ndeterministic = 1", "train.deterministic: must be true or false, got 1"),
    ("[train]\nbatch = 64", 'train.batch: no such key; did you mean "batch_size"?'),
    ("[train]\nepochs = {a = 1}", "train.epochs: must be a whole number, got {'a': 1}"),
    ("[train]\nquantiles = [0.5]", "train.quantiles: must be a list of at least 2 items, got [0.5]"),
    ("[train]\nquantiles = [0.5, 1, -1]", "train.quantiles: must be less than 1, got 1.0"),
    (
        "[sync]\ncluster = 'a b'",
        'sync.cluster: must be at most 64 letters, digits, ".", "_" and "-", the first',
    ),
    ("[average]\nevery = -1", "average.every: must be greater than or equal to 0"),
    (
        "[average]\nevery = 'batch'",
        "average.every: must be a whole number or 'epoch'",
    ),
    ("[average]\nwhat = 'gradients'", "average.what: must be 'weights' or 'weights+moments'"),
    ("[checkpoint]\nkeep = 0", "checkpoint.keep: must be greater than 0, got 0"),
    ("[storage]\nurl = 's3://b'\nsse = 'aes'", "storage.sse: must be '', 'AES256' or 'aws:kms'"),
    ("[trian]\nepochs = 1", '[trian]: no such section; did you mean "train"?'),
    ("[zzz]", "[zzz]: no such section; known: data, model, train"),
    ("[[train]]\nepochs = 1", "train: must be a section, [train], got [{'epochs': 1}]"),
    ("[data", "not valid TOML: "),
]


@pytest.mark.parametrize(
    ("text", "message"), REFUSED, ids=[text.replace("\n", " ")[:40] for text, _ in REFUSED]
)
def test_refused_with_the_key_and_what_it_takes(write, text: str, message: str) -> None:
    path = write(MINIMAL + text + "\n")
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert message in said
    assert "\n" not in said
    assert caught.value.exit_code == 2


def test_a_refusal_of_any_setting_is_in_plain_words() -> None:
    values: list[object] = [None, "a b", "", -1, 2**40, 1.5, [], [0.5], [1, -1, "a"], [0.5] * 40, {"a": 1}]
    refusals = []
    for section, field in config.RunConfig.model_fields.items():
        for key in field.annotation.model_fields:  # type: ignore[union-attr]
            for value in values:
                tables: dict[str, dict[str, object]] = {"data": {"store": "market.h5"}}
                tables.setdefault(section, {})[key] = value
                try:
                    config.validate_sections(config.RunConfig, tables, "run.toml")
                except ConfigError as error:
                    refusals.append(str(error))
    assert len(refusals) > 300
    assert [text for text in refusals if re.search(r"\b(should|valid|pattern)\b", text)] == []


def test_a_required_key_under_a_misspelt_name_is_an_unknown_one(write) -> None:
    with pytest.raises(ConfigError, match=r'data\.stroe: no such key; did you mean "store"\?$'):
        config.load(write('[data]\nstroe = "market.h5"\n'))


@pytest.mark.parametrize("text", ["", "[model]\nunits = 8\n", "[data]\nwindow = 3\n"])
def test_the_store_is_required(write, text: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.store: is required but not set$"):
        config.load(write(text))


@pytest.mark.parametrize(
    ("store", "message"),
    [("''", "data.store: must name a file"), ("'~nobody-here/m.h5'", "data.store: no such home folder")],
)
def test_a_store_that_can_be_no_file_is_refused(write, store: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(write(f"[data]\nstore = {store}\n"))


@pytest.mark.parametrize("name", ["url", "endpoint_url"])
def test_credentials_in_an_address_are_refused_and_not_repeated(write, name: str) -> None:
    text = f'[storage]\nurl = "s3://bucket"\n{name} = "https://user:hunter2@host"\n'
    if name == "url":
        text = '[storage]\nurl = "s3://user:hunter2@bucket/prefix"\n'
    with pytest.raises(ConfigError, match=rf"storage\.{name}: must hold no credentials") as caught:
        config.load(write(MINIMAL + text))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["sync.run", "storage.endpoint_url", "data.target", "train.engine"])
def test_an_override_that_is_not_utf_8_is_refused(write, key: str) -> None:
    with pytest.raises(ConfigError, match=r"\\udc80"):
        config.load(write(MINIMAL), [f"{key}=x\udc80"])


@pytest.mark.parametrize("text", ["epochs=3", "train.epochs", "train.=3", ".epochs=3", "=", ""])
def test_a_malformed_override_is_refused(write, text: str) -> None:
    with pytest.raises(ConfigError, match=r'--set .*must be "section\.key=value"'):
        config.load(write(MINIMAL), [text])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.epoch=3", 'train.epoch: no such key; did you mean "epochs"?'),
        ("train.epochs.x=3", "train.epochs.x: no such key"),
        ("train.epochs=three", "train.epochs: must be a whole number, got 'three'"),
        ("train.epochs=", "train.epochs: must be a whole number, got ''"),
        ("modl.units=3", 'modl.units: [modl]: no such section; did you mean "model"?'),
        ("data.store=~nobody-here/m.h5", "data.store: no such home folder"),
        (" sync.cluster = a", "sync.cluster: clusters meet at an object store; set storage.url"),
        (
            "data.symbols=AAPL,IBM",
            "data.symbols: must be 'all' or a list, got 'AAPL,IBM'; write [\"AAPL\", \"IBM\"]",
        ),
    ],
)
def test_an_override_is_checked_like_the_file(write, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(write(MINIMAL), ["model.units=3", text])
    assert str(caught.value).startswith(f"--set {message}")


def test_what_the_file_says_is_not_said_of_an_override(write) -> None:
    path = write(MINIMAL + "[model]\nunits = 0\n")
    with pytest.raises(ConfigError) as caught:
        config.load(path, ["model.unit=3", "train.epochs=3"])
    assert str(caught.value).startswith(f"{path}: model.units: must be")


@pytest.mark.parametrize(
    ("line", "section"), [("store = 'm.h5'", "data"), ("units = 3", "model"), ("x = [1]", "data")]
)
def test_a_value_above_all_sections_is_told_where_it_belongs(write, line: str, section: str) -> None:
    with pytest.raises(ConfigError, match=rf": {line[:5].split()[0]}: must stand below .* \[{section}\]$"):
        config.load(write(f"{line}\n{MINIMAL}"))


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such config file"):
        config.load(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.toml: is not text in UTF-8, so it is not a config file"):
        config.load(binary)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[sync]\ncluster = "a"\n', r"sync\.cluster: clusters meet at an object store; set storage\.url"),
        (
            '[storage]\nurl = "file:///x"\n[average]\nevery = 0\n[sync]\ncluster = "a"\n',
            r"average\.every: 0 leaves the ranks with different weights",
        ),
        ("[sync]\nexpected = 2\nquorum = 3\n", r"sync\.quorum: must be at most expected \(2\)"),
        ('[sync]\ncluster = "../b"\n', r"sync\.cluster: must be at most 64 letters"),
        ("[sync]\nkeep = 1\n", r"sync\.keep: .*greater than or equal to 2"),
    ],
)
def test_clusters_that_cannot_meet_are_refused(write, more: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config.load(write(MINIMAL + more))


@pytest.mark.parametrize("shard", ["3/2", "0/2", "1", "a/b", "1/0"])
def test_a_shard_that_is_none_is_refused(write, shard: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.shard: "):
        config.load(write(MINIMAL), [f"data.shard={shard}"])


settings_drawn = st.builds(
    config.RunConfig,
    data=st.builds(
        config.DataConfig,
        store=st.just("/data/market.h5"),
        symbols=st.one_of(st.just("all"), st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True)),
        features=st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True),
        window=st.integers(1, 10**6),
        split=st.sampled_from([[0.7, 0.15, 0.15], [1.0, 0.0, 0.0], [0.6, 0.4, 0.0]]),
    ),
    train=st.builds(
        config.TrainConfig,
        learning_rate=st.floats(min_value=1e-12, max_value=10),
        seed=st.integers(0, 2**31 - 1),
        deterministic=st.booleans(),
    ),
    average=st.builds(config.AverageConfig, every=st.one_of(st.just("epoch"), st.integers(0, 1000))),
    storage=st.builds(config.StorageConfig, url=st.sampled_from(["", "file:///x", "s3://bucket/prefix"])),
)


@given(settings_drawn)
def test_what_is_dumped_loads_as_the_same(settings: config.RunConfig) -> None:
    read = config.parse(tomllib.loads(config.dump(settings)), "dump")
    assert read == settings
    assert config.digest(read) == config.digest(settings)
    assert config.differences(read, settings) == []


def test_the_dump_writes_out_every_key(write) -> None:
    tables = tomllib.loads(config.dump(config.load(write(MINIMAL))))
    for section in config.RunConfig.model_fields:
        assert set(tables[section]) == set(getattr(config.load(write(MINIMAL)), section).model_dump())


def changed(settings: config.RunConfig, key: str) -> config.RunConfig:
    """The settings with another value, of the same type but unchecked, of one key."""
    section, name = key.split(".")
    table = getattr(settings, section)
    old = getattr(table, name)
    new = {bool: not old, str: f"{old}x", list: old * 2 if isinstance(old, list) else old}.get(type(old))
    return settings.model_copy(
        update={section: table.model_copy(update={name: old + 1 if new is None else new})}
    )


ALL_KEYS = [
    f"{section}.{name}"
    for section, table in config.RunConfig(data=config.DataConfig(store="m")).model_dump().items()
    for name in table
]


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
@pytest.mark.parametrize("key", ALL_KEYS)
def test_a_resumed_run_may_change_exactly_the_free_keys(key: str) -> None:
    settings = config.RunConfig(data=config.DataConfig(store="m"))
    other = changed(settings, key)
    assert config.differences(settings, other) == [(key, config.get(settings, key), config.get(other, key))]
    assert (config.digest(settings) == config.digest(other)) is (key in config.free_on_resume())


def test_flags_are_read_from_the_fields() -> None:
    free, shared = config.free_on_resume(), config.shared_by_clusters()
    assert free | shared <= set(ALL_KEYS)
    assert {"train.epochs", "train.engine", "train.precision", "storage.url"} <= free
    assert {"model.units", "data.window", "sync.outer"} <= shared
    assert not free & shared, "what clusters must share decides what is learned"
    assert "data.features" not in free


def test_settings_cannot_be_changed_in_place(write) -> None:
    settings = config.load(write(MINIMAL))
    with pytest.raises(ValueError, match="frozen"):
        settings.train.epochs = 3


@pytest.mark.parametrize("key", ["data.store", "storage.url", "storage.endpoint_url"])
def test_a_null_byte_is_in_no_path_and_no_address(tmp_path: Path, key: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[data]\nstore = "m.h5"\n')
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        config.load(path, [f'{key}="file:///a\\u0000b"'])


def test_a_name_with_a_null_byte_is_no_file() -> None:
    with pytest.raises(ConfigError, match="cannot be read: embedded null byte"):
        config.load(Path("run\0.toml"))


def test_lists_nested_deeper_than_python_recurses_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[data]\nfeatures = " + "[" * 100_000)
    with pytest.raises(ConfigError, match=r"run\.toml: its lists are nested deeper than any config has them"):
        config.load(file)
    file.write_text("")
    with pytest.raises(ConfigError, match=r"--set data\.features: its lists are nested deeper"):
        config.load(file, ["data.features=" + "[" * 100_000])
