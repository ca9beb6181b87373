"""What commands print: on terminals of any width, and as JSON."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpc_lstm import cli
from hpc_lstm.console import output
from hpc_lstm.market.synthetic import synthesize
from hpc_lstm.text import terminal


@dataclass
class Record:
    number: float
    path: Path


def test_json_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_json({"a": Record(float("nan"), Path("x")), "b": (1, None, True), 3: 0.5})
    assert json.loads(capsys.readouterr().out) == {
        "a": {"number": None, "path": "x"},
        "b": [1, None, True],
        "3": 0.5,
    }


def test_json_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"ü 株 🙂 \x9b31m": "\x7f\u202egnp\U000e0041\udc9b\n"}
    output.show_json(value)
    text = capsys.readouterr().out
    assert r'"ü 株 🙂 \u009b31m": "\u007f\u202egnp\udb40\udc41\udc9b\n"' in text
    assert json.loads(text) == value


def test_sentences_are_broken_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "name    1.0    2.0    3.0    4.0    5.0    6.0\n  the words of this sentence do not fit into the line"
    output.show(text)
    assert capsys.readouterr().out == text + "\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((30, 24)))
    output.show(text)
    table, more, *sentence = (line for line in capsys.readouterr().out.splitlines() if line)
    assert f"{table} {more.removeprefix('name')}".split() == text.splitlines()[0].split()
    assert len(sentence) > 1
    assert all(line.startswith("  ") for line in sentence)
    assert max(map(len, (table, more, *sentence))) <= terminal.NARROWEST


def test_what_stands_beside_a_label_is_broken_below_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((40, 24)))
    output.show("  columns   open, high, low, close, volume, adj_close")
    assert capsys.readouterr().out == "  columns   open, high, low, close,\n            volume, adj_close\n"
    output.show("  a label as long as most of the line   and what it says")
    assert capsys.readouterr().out == "  a label as long as most of the line\n    and what it says\n"


def test_commands_stay_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((20, 24)))
    command = f"hpc-lstm train {'a/long/path/' * 9}run.toml --resume"
    output.show(f"  {command}")
    output.show(f"the run is not complete; continue it with `{command}` when there is room")
    alone, *sentence = capsys.readouterr().out.splitlines()
    assert alone == f"  {command}"
    assert sum(command in line for line in sentence) == 1
    assert len(sentence) > 2


def test_completion_knows_settings_and_symbols(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    synthesize(tmp_path / "s.h5", symbols=3, days=20, seed=0)

    def completed(*words: str) -> list[str]:
        monkeypatch.setenv("_HPC_LSTM_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", " ".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        with pytest.raises(SystemExit):
            cli.main([])
        return [line.partition(",")[2] for line in capsys.readouterr().out.split()]

    assert completed("hpc-lstm", "train", "a.toml", "--set", "train.lea") == ["train.learning_rate="]
    store = str(tmp_path / "s.h5")
    assert completed("hpc-lstm", "plot", store, "--symbol", "SYN") == ["SYN00000", "SYN00001", "SYN00002"]
    assert completed("hpc-lstm", "plot", "missing.h5", "--symbol", "SYN") == []
    assert "doctor" in completed("hpc-lstm", "do")
