"""The command line of the preparation of data sets."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import moving_square, write_empty, write_video

TOOL = Path(__file__).resolve().parents[2] / "tools" / "prepare_dataset.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("prepare_dataset", TOOL)
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for number in range(12):
        path = folder / "ab"[number % 2] / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_video(path, moving_square(6, 32, 48, color=(20 * number, 200, 90)))
    write_empty(folder / "a" / "empty.mp4")
    return folder


def test_from_folder_to_set_to_check_as_a_user_does_it(videos, tmp_path):
    run = [sys.executable, str(TOOL)]
    done = subprocess.run(
        [*run, videos, "--out", "mine", "--workers", "1"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")  # no progress bar where nobody looks
    assert done.stdout.splitlines()[2:6] == [
        "class   train     val    test     all",
        "a           4       1       1       6",
        "b           4       1       1       6",
        "all         8       2       2      12",
    ]
    assert "1 left out (mine/bad.csv):" in done.stdout
    assert done.stdout.endswith("DATA.PATH_TO_DATA_DIR mine OUTPUT_DIR runs/mine\n")
    assert {"train.csv", "val.csv", "test.csv", "classes.json", "dataset.json"} <= set(os.listdir(tmp_path / "mine"))


@pytest.fixture
def here(tool, monkeypatch):
    """Return the tool's ``main``, working in this process."""
    reading = tool._reading
    monkeypatch.setattr(tool, "_reading", lambda args: reading(args) | {"workers": 0})
    return tool.main


def test_check_ends_with_1_where_there_are_faults(here, videos, tmp_path, capsys):
    out = tmp_path / "mine"
    assert here([str(videos), "--out", str(out)]) == 0
    capsys.readouterr()
    assert here(["--check", str(out)]) == 0
    assert capsys.readouterr().out == "no faults in 12 videos\n"
    lines = (out / "val.csv").read_text()
    (out / "val.csv").write_text(lines + "gone.mp4 0\n" + "x\n")
    assert here(["--check", str(out)]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        f"{out}/val.csv:3: gone.mp4: No such file or directory",
        f"{out}/val.csv:4: no label after a ' ' in 'x'; a list is `path label` lines",
        "2 faults in 13 videos",
    ]
    assert captured.err == ""


def test_every_option_arrives(tool, monkeypatch):
    import uniformer_video.prepare.prepare as job

    seen = []
    monkeypatch.setattr(job, "prepare_dataset", seen.append)
    words = "in.csv --out o --videos v --path-column p --label-column l --group-column g --split-column s"
    words += " --label-separator | --delimiter ; --header no --label-order as-listed --split 0.5 0.3 0.2 --seed 4"
    words += " --group-pattern x --fast --min-frames 8 --min-seconds 0.5 --keep-duplicates --workers 3 --timeout 9"
    words += " --transcode --short-side 240 --gop 8 --crf 18 --overwrite"
    assert tool.main(words.split()) == 0
    (options,) = seen
    assert options.lists == job.ListOptions("v", "p", "l", "g", "s", "|", ";", False)
    assert options.transcode == job.TranscodeSettings(240, 8, 18)
    assert (options.source, options.out, options.group_pattern, options.fractions) == (
        "in.csv",
        "o",
        "x",
        (0.5, 0.3, 0.2),
    )
    assert (options.seed, options.label_order, options.min_frames, options.min_seconds) == (4, "as-listed", 8, 0.5)
    assert (options.keep_duplicates, options.fast, options.overwrite) == (True, True, True)
    assert (options.workers, options.timeout_seconds) == (3, 9.0)
    assert options.command == ["prepare_dataset.py", *words.split()]


def test_defaults(tool, monkeypatch):
    import uniformer_video.prepare.prepare as job

    seen = []
    monkeypatch.setattr(job, "prepare_dataset", seen.append)
    tool.main(["in", "--out", "o", "--workers", "1"])
    assert seen[0] == job.PrepareOptions(
        "in", "o", timeout_seconds=60.0, command=["prepare_dataset.py", "in", "--out", "o", "--workers", "1"]
    )
    tool.main(["in", "--out", "o", "--transcode"])
    assert (seen[1].transcode.short_side, seen[1].transcode.gop) == (320, 16)
    assert 1 <= seen[1].workers <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "give a SOURCE and --out DIR, or --check DIR"),
        ("in --out o --check x", "give a SOURCE and --out DIR, or --check DIR"),
        ("in", "--out DIR is missing"),
        ("--check x --min-frames 8", "--min-frames belongs to a SOURCE, not to --check: leave it away"),
        ("--check x --out o", "--out belongs to a SOURCE, not to --check"),
        ("in --out o --split 0.5 0.2 0.2", "--split 0.5 0.2 0.2: three shares with sum 1, the first two above 0"),
        ("in --out o --split 1 0 0", "three shares with sum 1, the first two above 0"),
        ("in --out o --split 0.6 nan 0.4", "three shares with sum 1"),
        ("in --out o --seed -1", "--seed -1: it is 0 or more"),
        ("in --out o --timeout inf", "--timeout inf: it is 0 or more"),
        ("in --out o --workers 0", "--workers 0: it is 1 or more"),
        ("in --out o --gop 8", "--gop belongs to --transcode: add that"),
        ("in --out o --transcode --image-template x{}.jpg", "--transcode is for video files"),
        ("in --out o --label-order random", "invalid choice: 'random'"),
    ],
)
def test_a_wrong_command_line_is_one_line(tool, capsys, words, message):
    with pytest.raises(SystemExit) as raised:
        tool.main(words.split())
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_a_mistake_in_the_data_is_one_line_and_exit_code_2(here, tmp_path, capsys):
    assert here([str(tmp_path / "nothing"), "--out", str(tmp_path / "o")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"error: {tmp_path}/nothing: no such file or folder; give a folder of class folders or a list\n"
    )
    assert not (tmp_path / "o").exists()
    assert here([str(tmp_path), "--out", str(tmp_path / "o"), "--transcode", "--gop", "0"]) == 2
    assert "group of pictures of 0" in capsys.readouterr().err


def test_help_names_every_option_and_shows_examples(tool, capsys):
    with pytest.raises(SystemExit) as raised:
        tool.main(["--help"])
    assert raised.value.code == 0
    text = capsys.readouterr().out
    assert "python tools/prepare_dataset.py my_videos/ --out data/mine\n" in text
    for option in ("--check DIR", "--group-pattern REGEX", "--split TRAIN VAL TEST", "--transcode", "--timeout S"):
        assert option in text


@pytest.mark.slow
def test_ctrl_c_is_130_and_the_next_run_goes_on(videos, tmp_path):
    for number in range(40):
        path = tmp_path / "in" / "ab"[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, moving_square(60, 240, 320, color=(5 * number, 200, 90)))
    command = [sys.executable, str(TOOL), str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--workers", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    cache = tmp_path / "out" / ".probes.jsonl"
    while process.poll() is None and (not cache.exists() or cache.read_text().count("\n") < 3):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "interrupted\n")
    kept = cache.read_text().count("\n")
    assert 3 <= kept < 40
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert cache.read_text().count("\n") == 40
