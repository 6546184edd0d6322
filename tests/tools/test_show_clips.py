"""tools/show_clips.py: the command line, what it prints, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from tests.toy import restoring_logger
from tools import show_clips


@pytest.fixture(autouse=True)
def logger():
    with restoring_logger():
        yield


def draw(toy_set: Path, out: Path, *options: str) -> int:
    return show_clips.main(
        ["--cfg", str(toy_set / "toy.yaml"), "--out", str(out), *options, "DATA.PATH_TO_DATA_DIR", str(toy_set)]
    )


def test_training_clips(toy_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "new folder" / "a.png"
    assert draw(toy_set, out, "--records", "3", "--epoch", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    first = lines.index(str(out))
    assert len(lines[first:]) == 4 and all(line.startswith("record ") for line in lines[first + 1 :])
    with Image.open(out) as picture:
        assert picture.format == "PNG" and picture.height > 3 * 112
    assert os.listdir(out.parent) == ["a.png"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_views_of_named_records(toy_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture, split: str) -> None:
    assert draw(toy_set, tmp_path / "a.png", "--split", split, "--record", "4,0") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[-2:]] == ["record 4", "record 0"]


def test_the_default_is_four_records_beside_the_user(
    toy_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert show_clips.main(["--cfg", str(toy_set / "toy.yaml"), "DATA.PATH_TO_DATA_DIR", str(toy_set)]) == 0
    assert capsys.readouterr().out.splitlines()[-5] == "clips.png"
    assert os.listdir(tmp_path) == ["clips.png"]


def test_settings_reach_the_clips(toy_set: Path, tmp_path: Path) -> None:
    heights = []
    for repeats in ("1", "3"):
        assert draw(toy_set, tmp_path / "a.png", "--records", "1", "AUG.NUM_SAMPLE", repeats) == 0
        with Image.open(tmp_path / "a.png") as picture:
            heights.append(picture.height)
    assert heights[1] - heights[0] > 2 * 112


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--records", "0"], "--records is a whole number >= 1, not 0"),
        (["--frames", "-2"], "--frames is a whole number >= 1, not -2"),
        (["--epoch", "0"], "--epoch is a whole number >= 1, not 0"),
        (["--records", "2", "--record", "1"], "--records (how many) and --record (which) exclude each other"),
        (["--split", "test", "--epoch", "2"], "--epoch is for training clips; --split test has the same clips"),
        (["--split", "training"], "argument --split: invalid choice: 'training'"),
        (["--record", "1,x"], "argument --record: '1,x' is no list of record numbers such as 0,7"),
        (["--record", "1,,2"], "argument --record: '1,,2' is no list of record numbers"),
        (["--record=-3"], "argument --record: '-3' is no list of record numbers"),
    ],
)
def test_impossible_options(toy_set: Path, tmp_path: Path, capsys, options: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        draw(toy_set, tmp_path / "a.png", *options)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_mistakes_are_one_line(toy_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    cases = [
        (tmp_path / "a.png", ["--record", "99"], "there is no record 99: the train list has records 0 to 11"),
        (tmp_path / "file" / "a.png", [], f"--out '{tmp_path}/file' cannot be written"),
        (tmp_path, [], f"--out {tmp_path} is a folder; name a file in it"),
    ]
    for out, options, message in cases:
        assert draw(toy_set, out, *options) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {message}") and error.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_help_tells_everything(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        show_clips.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    words = ("--cfg", "--split", "--records", "--record", "--epoch", "--frames", "--out", "examples:", "Exit codes:")
    assert all(word in text for word in words)
