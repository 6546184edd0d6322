"""The command line of chaos.py, and the set it makes."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from tests.tools.chaos_path import TOOLS

assert TOOLS
import chaos  # noqa: E402
import chaos_bench  # noqa: E402
import chaos_set  # noqa: E402
from chaos_bench import check_folder  # noqa: E402
from chaos_cases import Subcommand, case_name, describe  # noqa: E402

from uniformer_video.config import load_config  # noqa: E402
from uniformer_video.runtime.errors import UserError  # noqa: E402
from uniformer_video.video.open import open_video  # noqa: E402

LINE = 120


def held(bench, case):
    """It holds."""
    case.fact("fine")


def failed(bench, case):
    """It fails."""
    case.problems.append("broken")
    (bench.case / "evidence").touch()


def interrupted(bench, case):
    """It is interrupted."""
    bench.launch(["sleep", "100"])
    raise KeyboardInterrupt


@pytest.fixture
def two(monkeypatch):
    """Two kinds of harm that need no runs, and no data."""
    good, bad = Subcommand("g", "a second", (held,)), Subcommand("b", "a second", (held, failed))
    monkeypatch.setattr(chaos, "SUBCOMMANDS", {"good": good, "bad": bad})
    monkeypatch.setattr(chaos.Bench, "prepare", lambda self: None)


def test_all_held(two, tmp_path, capsys):
    assert chaos.main(["good", "--out", str(tmp_path / "new"), "--seed", "4"]) == 0
    out = capsys.readouterr().out
    assert "1 held" in out and "results.json" in out
    content = json.loads((tmp_path / "new" / "results.json").read_text())
    assert (content["held"], content["seed"]) == (True, 4)
    assert content["command"].startswith("chaos.py good --out")
    assert chaos.main(["good", "--out", str(tmp_path / "new")]) == 0, "its own folder may be used again"


def test_one_failed_and_everything_is_kept(two, tmp_path, capsys):
    assert chaos.main(["all", "--out", str(tmp_path)]) == 1
    assert "2 held, 1 FAILED" in capsys.readouterr().out
    assert (tmp_path / "bad-failed" / "evidence").exists()
    assert [entry["name"] for entry in json.loads((tmp_path / "results.json").read_text())["cases"]] == [
        "held",
        "held",
        "failed",
    ]


def test_some_cases_alone(two, tmp_path):
    assert chaos.main(["bad", "--out", str(tmp_path), "--only", "held"]) == 0
    assert chaos.main(["bad", "--out", str(tmp_path), "--only", "failed"]) == 1


def test_a_temporary_folder_is_removed_when_all_held_and_kept_when_not(two, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(chaos.tempfile, "tempdir", str(tmp_path))
    assert chaos.main(["good"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert chaos.main(["bad"]) == 1
    (kept,) = tmp_path.iterdir()
    assert str(kept) in capsys.readouterr().out and (kept / "results.json").exists()


def test_ctrl_c_leaves_no_process(two, tmp_path, monkeypatch):
    monkeypatch.setattr(chaos, "SUBCOMMANDS", {"good": Subcommand("g", "a second", (interrupted,))})
    monkeypatch.setattr(chaos_bench, "END_S", 0.2)
    runs = []
    real = chaos.Bench.launch
    monkeypatch.setattr(chaos.Bench, "launch", lambda self, *a, **k: runs.append(real(self, *a, **k)) or runs[-1])
    assert chaos.main(["good", "--out", str(tmp_path)]) == 130
    assert runs[0].gone(30) and not runs[0].running()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "unknown name 'nonsense'; known: kills, files"),
        (["files", "--only", "nonsense"], "no case 'nonsense'; known: full-disk"),
        (["files", "--seed", "-1"], "--seed must be 0 or more"),
        (["kills", "--kills", "0"], "argument --kills: must be 1 or more"),
        (["memory", "--steps", "5"], "argument --steps: must be 100 or more"),
        (["files", "--damages", "0"], "argument --damages: must be 1 or more"),
        (["kills", "--kills", "many"], "invalid whole number value: 'many'"),
    ],
)
def test_mistakes_are_one_line(arguments, words, capsys):
    try:
        code = chaos.main(arguments)
    except SystemExit as exit:
        code = exit.code
    err = capsys.readouterr().err
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and words in err


def test_a_folder_of_something_else_is_left_alone(two, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert chaos.main(["good", "--out", str(tmp_path)]) == 2
    assert "name a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError):
        check_folder(tmp_path)


def test_help_tells_every_subcommand_and_its_time(capsys):
    assert chaos.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, command in chaos.SUBCOMMANDS.items():
        assert f"{name:10} {command.help} ({command.takes})" in text
        assert all(describe(function) and len(describe(function)) < LINE for function in command.cases)
    assert chaos.main([]) == 2
    with pytest.raises(SystemExit) as exit:
        chaos.main(["kills", "--help"])
    assert exit.value.code == 0 and "--kills" in capsys.readouterr().out


def test_cases_have_names_of_their_own():
    names = [case_name(function) for command in chaos.SUBCOMMANDS.values() for function in command.cases]
    assert len(set(names)) == len(names) >= 20


def test_the_set_is_what_the_harness_counts_on(tmp_path, monkeypatch):
    monkeypatch.setattr(chaos_set, "VIDEOS", {"train": 5, "val": 2, "test": 3})
    folder = chaos_set.write_set(tmp_path / "data", seed=1)
    paths = chaos_set.paths_of(folder, "train")
    assert len(paths) == 5 and paths[4] == str(folder / "videos" / "train 04.mp4")
    with open_video(paths[3]) as reader:
        assert reader.num_frames == chaos_set.LENGTHS[3] and tuple(reader.size) == (64, 48)
    again = chaos_set.write_set(tmp_path / "again", seed=1)
    with open_video(paths[0]) as one, open_video(chaos_set.paths_of(again, "train")[0]) as other:
        assert np.array_equal(one.frames_at([0, 5]), other.frames_at([0, 5]))
    cfg = load_config(folder / chaos_set.CONFIG, ["DATA.PATH_TO_DATA_DIR", str(folder)])
    assert cfg.TRAIN.CHECKPOINT_STEPS == chaos_set.CHECKPOINT_STEPS == 2
    assert (cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.MAX_EPOCH) == (chaos_set.BATCH, chaos_set.EPOCHS)
    assert cfg.MIXUP.ENABLE and cfg.AUG.ENABLE and cfg.SOLVER.EMA_DECAY and cfg.UNIFORMER.DROP_DEPTH_RATE
    assert chaos_set.STEPS % 2 == 1, "a checkpoint at every second step and one at the epoch's end do not coincide"


def test_settings_of_a_run(tmp_path):
    made = chaos.Bench(tmp_path, argparse.Namespace(seed=0))
    text = made.settings(tmp_path / "out", ("A", 1, "B", True))
    assert text[:2] == ["--cfg", str(tmp_path / "data" / "chaos.yaml")]
    assert text[-4:] == ["A", "1", "B", "True"] and str(tmp_path / "out") in text
