"""docs/CONFIG.md is made from the table of keys."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from uniformer_video.config import KEYS
from uniformer_video.config.document import config_markdown, main
from uniformer_video.config.kinds import Choice, Key

ROW = re.compile(r"(?<!\\)\|")


def rows() -> dict[str, list[str]]:
    """Return the cells of the tables' rows by the name of the key."""
    cells = [
        [cell.strip() for cell in ROW.split(line)[1:-1]] for line in config_markdown().splitlines() if line[:3] == "| `"
    ]
    return {row[0].strip("`"): row for row in cells}


def test_every_key_has_its_row_in_order():
    assert list(rows()) == list(KEYS)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_row_says_default_allowed_values_unit_and_meaning(key):
    _, default, allowed, unit, meaning = rows()[key.name]
    assert yaml.safe_load(default.strip("`")) == key.default
    assert allowed == key.kind.describe()
    assert unit == key.unit
    assert meaning == key.meaning.replace("|", "\\|")


def test_a_bar_in_a_text_does_not_end_its_cell(monkeypatch):
    key = Key("A.B", "x|y", Choice(("x|y", "z")), "Either x | y.")
    monkeypatch.setattr("uniformer_video.config.document.KEYS", {key.name: key})
    assert config_markdown().splitlines()[-1] == "| `A.B` | `x\\|y` | one of x\\|y, z |  | Either x \\| y. |"


def test_each_section_has_one_heading_above_its_keys():
    section, seen = "", []
    for line in config_markdown().splitlines():
        if line.startswith("## "):
            section = line[3:]
            seen.append(section)
        elif line.startswith("| `"):
            name = line.split("`")[1]
            assert (name.split(".")[0] if "." in name else "The run") == section
    assert len(seen) == len(set(seen)) == len({name.rpartition(".")[0] for name in KEYS})


def test_the_text_says_where_it_comes_from():
    text = config_markdown()
    assert text.startswith("# Configuration keys\n\nGenerated from `uniformer_video/config` by `make docs`")
    assert text.endswith("|\n")
    assert "`_BASE_: other.yaml`" in text


def test_main_writes_the_path_given(tmp_path, monkeypatch, capsys):
    path = tmp_path / "CONFIG.md"
    monkeypatch.setattr(sys, "argv", ["document", str(path)])
    assert main() == 0
    assert path.read_text(encoding="utf-8") == config_markdown()
    assert capsys.readouterr().out == f"wrote {path}\n"


def test_main_writes_docs_of_this_checkout_otherwise(tmp_path, monkeypatch, capsys):
    written = []

    class Sink:
        def __init__(self, path):
            written.append(path)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, text):
            written.append(text)

    monkeypatch.setattr(sys, "argv", ["document"])
    monkeypatch.setattr("uniformer_video.config.document.atomic_write", Sink)
    assert main() == 0
    assert written == [Path(__file__).resolve().parents[2] / "docs" / "CONFIG.md", config_markdown()]
