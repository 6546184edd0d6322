"""The command from end to end, on the toy set and a network with random weights."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import simplejson
import torch

from tests.engine.predicting import test_videos, write_network
from tests.helpers import moving_square, write_video
from tests.test_package import ROOT
from tests.toy import CLASSES
from tools import predict
from uniformer_video.engine import setup
from uniformer_video.engine.predictor import Predictor
from uniformer_video.video.open import open_video


@pytest.fixture(scope="module")
def network(toy_set, tmp_path_factory):
    return str(write_network(toy_set, tmp_path_factory.mktemp("network") / "net.pyth"))


@pytest.fixture
def command(network, capsys):
    """Return a function that runs the command on the CPU and gives (exit code, output, error output)."""

    def run(*words, weights=network):
        code = predict.main([str(weights), *map(str, words), "--device", "cpu", "--workers", "0"])
        return code, *capsys.readouterr()

    return run


def refused(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        predict.main([str(word) for word in words])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_table_of_every_video(command, network, toy_set):
    videos = test_videos(toy_set)[:2]
    code, out, err = command(*videos, "--top", "2")
    assert code == 0
    found = [Predictor.from_checkpoint(network, device="cpu").predict(video) for video in videos]
    lines = out.splitlines()
    assert [lines[0], lines[4]] == videos or all("…" in lines[k] for k in (0, 4))
    for start, one in ((1, found[0]), (5, found[1])):
        for line, best in zip(lines[start : start + 2], one.top(2), strict=True):
            assert line.split()[0] == best.name
            assert line.endswith(f"{100 * best.score:5.1f} %")
    assert f"{network}: Uniformer, 3 classes; 2 videos, 2 clips x 3 crops; on " in err


def test_threads_fit_the_cores_of_this_process(command, toy_set, monkeypatch):
    fitted = []
    monkeypatch.setattr(setup, "fit_threads", lambda *arguments: fitted.append(arguments))
    assert command(test_videos(toy_set)[0])[0] == 0
    assert fitted == [(1, torch.device("cpu"))]


def test_json_and_csv_have_the_broken_video_with_its_error(command, network, toy_set, broken_video, tmp_path):
    good = test_videos(toy_set)[0]
    files = tmp_path / "p.json", tmp_path / "p.csv"
    code, out, err = command(good, broken_video, "--json", files[0], "--csv", files[1])
    assert code == 1
    content = simplejson.loads(files[0].read_text())
    assert {key: content[key] for key in ("weights", "classes", "multi_label", "clips", "crops")} == {
        "weights": network,
        "classes": 3,
        "multi_label": False,
        "clips": 2,
        "crops": 3,
    }
    first, second = content["videos"]
    found = Predictor.from_checkpoint(network, device="cpu").predict(good)
    assert first["path"] == good
    assert first["error"] is None
    assert [(t["class"], t["name"], t["score"]) for t in first["top"]] == [
        (best.number, best.name, round(best.score, 6)) for best in found.top()
    ]
    assert (second["path"], second["top"]) == (broken_video, [])
    assert second["error"]
    with open(files[1], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [good, broken_video]
    assert rows[0]["top1_name"] == found.label
    assert rows[0]["top1_score"] == f"{found.score:.6f}"
    assert rows[1]["error"] == second["error"]
    assert f"cannot be read: {broken_video}: {second['error']}" in err
    assert "1 of 2 videos could not be read" in err
    assert good in out or "…" in out


def test_data_on_standard_output_sends_the_table_elsewhere(command, toy_set):
    video = test_videos(toy_set)[0]
    code, out, err = command(video, "--csv", "-", "--top", "1")
    assert code == 0
    assert [row["path"] for row in csv.DictReader(io.StringIO(out))] == [video]
    assert " %" in err
    code, out, _ = command(video, "--json", "-")
    assert simplejson.loads(out)["videos"][0]["path"] == video


def test_a_list_with_labels_is_compared(command, toy_set):
    code, out, _ = command(toy_set / "test.csv")
    assert code == 0
    assert sum("(right: " in line or "(wrong: " in line for line in out.splitlines()) == 6
    right = out.count("(right: ")
    assert f"{right} of 6 videos with a label are right ({100 * right / 6:.2f} %)" in out
    assert any(f": {name})" in out for name in CLASSES)


def test_names_on_standard_input(command, toy_set, monkeypatch):
    videos = test_videos(toy_set)[:2]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(videos) + "\n"))
    code, out, _ = command("-", "--csv", "-")
    assert code == 0
    assert [row["path"] for row in csv.DictReader(io.StringIO(out))] == videos


def test_features(command, network, toy_set, broken_video, tmp_path):
    videos = test_videos(toy_set)[:2]
    code, _, _ = command(videos[0], broken_video, videos[1], "--features", tmp_path / "f.npz")
    assert code == 1
    predictor = Predictor.from_checkpoint(network, device="cpu")
    with np.load(tmp_path / "f.npz") as content:
        assert content["paths"].tolist() == videos
        expected = torch.stack([predictor.features(video) for video in videos])
        np.testing.assert_allclose(content["features"], expected.numpy(), rtol=1e-5, atol=1e-6)


class TestVideo:
    def test_one_file(self, command, toy_set, tmp_path):
        source = write_video(tmp_path / "a.mp4", moving_square(10, 96, 128), fps=10)
        code, _, _ = command(source, "--video", tmp_path / "out.mp4")
        assert code == 0
        with open_video(str(tmp_path / "out.mp4")) as reader:
            assert (reader.num_frames, reader.fps, reader.size) == (10, 10, (96, 128))

    def test_a_folder_for_several(self, command, toy_set, tmp_path, broken_video):
        videos = test_videos(toy_set)[:2]
        code, _, err = command(*videos, broken_video, "--video", tmp_path / "labelled")
        assert code == 1
        names = sorted(path.name for path in (tmp_path / "labelled").iterdir())
        assert names == sorted(f"{Path(video).stem}.mp4" for video in videos)

    def test_never_over_the_input(self, command, toy_set, tmp_path):
        source = Path(shutil.copy(test_videos(toy_set)[0], tmp_path / "a.mp4"))
        before = source.read_bytes()
        code, _, err = command(source, "--video", source)
        assert (code, "is the input itself" in err) == (2, True)
        assert command(source, "--video", tmp_path)[0] == 0
        assert source.read_bytes() == before
        assert (tmp_path / "a.labelled.mp4").is_file()

    def test_never_over_another_video_beside_the_input(self, command, toy_set, tmp_path):
        source = write_video(tmp_path / "x.mkv", moving_square(10, 96, 128), fps=10)
        Path(tmp_path / "x.mp4").write_bytes(b"another film")
        assert command(source, "--video", tmp_path)[0] == 0
        assert (tmp_path / "x.mp4").read_bytes() == b"another film"
        with open_video(str(tmp_path / "x.labelled.mp4")) as reader:
            assert reader.num_frames == 10

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("out.mp4", "is one file for 2 videos; give a folder"),
            ("out.xyz", "videos are written to files that end in"),
        ],
    )
    def test_places_that_are_none(self, command, toy_set, tmp_path, target, message):
        code, out, err = command(*test_videos(toy_set)[:2], "--video", tmp_path / target)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1


class TestStream:
    def test_timelines(self, command, network, toy_set, tmp_path, broken_video):
        source = write_video(tmp_path / "long.mp4", moving_square(40), fps=10)
        code, out, err = command(
            *(source, broken_video, "--stream", "--window", "1", "--stride", "0.5", "--top", "2"),
            *("--out", tmp_path / "lines", "--video", tmp_path / "films"),
        )
        assert code == 1
        names = sorted(path.name for path in (tmp_path / "lines").iterdir())
        assert names == ["broken.timeline.json", "long.timeline.json", "long.timeline.png"]
        content = simplejson.loads((tmp_path / "lines" / "long.timeline.json").read_text())
        line = Predictor.from_checkpoint(network, device="cpu").stream(source, window=1, stride=0.5)
        assert content == simplejson.loads(simplejson.dumps(line.as_dict(2)))
        assert [window["start_seconds"] for window in content["windows"]] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
        broken = simplejson.loads((tmp_path / "lines" / "broken.timeline.json").read_text())
        assert (broken["windows"], broken["path"]) == ([], broken_video)
        assert broken["error"]
        assert (tmp_path / "lines" / "long.timeline.png").read_bytes()[:4] == b"\x89PNG"
        with open_video(str(tmp_path / "films" / "long.mp4")) as reader:
            assert reader.num_frames == 40
        assert f"{tmp_path / 'lines' / 'long.timeline.json'}" in out
        assert f"cannot be read: {broken_video}" in err

    def test_into_this_folder(self, command, toy_set, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert command(test_videos(toy_set)[0], "--stream")[0] == 0
        stem = Path(test_videos(toy_set)[0]).stem
        assert sorted(os.listdir(tmp_path)) == [f"{stem}.timeline.json", f"{stem}.timeline.png"]


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("nothing.mp4",), "there is no 'nothing.mp4'"),
            (("*.nothing",), "no file matches '*.nothing'"),
        ],
    )
    def test_inputs(self, command, words, message):
        code, out, err = command(*words)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1

    def test_weights(self, command, toy_set, tmp_path):
        for weights in (tmp_path / "nothing.pyth", tmp_path, "uniformer_smal_k400_16x8"):
            code, out, err = command(test_videos(toy_set)[0], weights=weights)
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert err.startswith("error: ")

    def test_places_are_refused_before_any_video_is_read(self, command, toy_set, tmp_path):
        code, out, err = command(test_videos(toy_set)[0], "--json", tmp_path / "no" / "a.json")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "--json " in err and "is no folder; make it first" in err

    def test_a_list_is_never_written_over(self, command, toy_set, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("mine.txt").write_text(test_videos(toy_set)[0])
        for word, option, target in (
            *(("mine.txt", "--csv", "mine.txt"), ("@mine.txt", "--json", "./mine.txt")),
            ("mine.txt", "--features", "mine.npy"),  # its paths would go into mine.txt
        ):
            code, out, err = command(word, option, target)
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert f"{option} would write over" in err
        assert Path("mine.txt").read_text() == test_videos(toy_set)[0]

    def test_a_network_that_does_not_tell_features(self, command, toy_set, tmp_path, monkeypatch):
        monkeypatch.setattr(Predictor, "tells_features", False)
        code, out, err = command(test_videos(toy_set)[0], "--features", tmp_path / "f.npz")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "--features: Uniformer has no forward_pooled" in err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("--top", "0"), "--top is a whole number >= 1, got 0"),
            (("--workers", "-1"), "--workers is a whole number >= 0, got -1"),
            (("--threshold", "2"), "--threshold is a number from 0 to 1, got 2.0"),
            (("--window", "3"), "--window, --stride and --out go with --stream"),
            (("--stream", "--window", "0"), "--window is a number of seconds > 0, got 0.0"),
            (("--stream", "--json", "-"), "--json does not go with --stream"),
            (("--stream", "--features", "f.npz"), "--features does not go with --stream"),
            (("--json", "-", "--csv", "-"), "--json and --csv cannot both go to standard output"),
        ],
    )
    def test_options(self, capsys, words, message):
        assert message in refused(capsys, "weights", "input", *words)

    def test_nothing_given(self, capsys):
        assert "the following arguments are required: WEIGHTS, INPUT" in refused(capsys)

    def test_a_device_that_is_none(self, network, toy_set, capsys):
        assert predict.main([network, test_videos(toy_set)[0], "--device", "gpu"]) == 2
        assert "allowed: auto, cpu, cuda, cuda:1" in capsys.readouterr().err


def test_help_is_quick_and_tells_of_every_option(capsys):
    with pytest.raises(SystemExit) as ended:
        predict.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in ("--stream", "--features", "--video", "examples:", "Exit codes:", "python tools/zoo.py list"):
        assert word in text
    code = "import sys; sys.argv = ['predict']; from tools import predict; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
