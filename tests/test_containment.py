"""Names in lists, labels and addresses choose what is read, never where anything is written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import moving_square, write_video
from tests.prepare.conftest import prepare
from tests.toy import entries, logger_restored, rewrite, toy_cfg, toy_set  # noqa: F401 - fixtures
from tools import predict, run_net
from uniformer_video.config import dump
from uniformer_video.engine.predict_output import output_names, write_features
from uniformer_video.engine.predict_places import LabelledPlaces
from uniformer_video.engine.setup import new_model
from uniformer_video.prepare.source_lists import ListOptions
from uniformer_video.prepare.transcode_all import target_names
from uniformer_video.runtime.paths import atomic_write
from uniformer_video.runtime.web_cache import cached_path
from uniformer_video.video.transcode import TranscodeSettings

pytestmark = pytest.mark.usefixtures("logger_restored")

HOSTILE = (
    *("../../x.mp4", "/etc/x.mp4", "..", ".", "../..", "a/../../x.mp4", "..\\..\\x.mp4", "c:\\x.mp4", "//x", ""),
    *("http://host/../../x.mp4", "file:///etc/x.mp4", "a\0b.mp4", "a\nb.mp4", "~/x.mp4", "x/..", "-", "--", "$HOME"),
    *("....//....//x", "%2e%2e/x.mp4", "CON", " ", "x" * 300, "../" * 50 + "x"),
)
parts = st.one_of(st.sampled_from(HOSTILE), st.text(alphabet="./\\~:x\0 ", max_size=12))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path_factory.mktemp("cache")))


def content(folder: Path, besides: Path) -> dict[str, str]:
    """Return the hash of every file below ``folder``, and each folder, but for those in ``besides``."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path != besides and besides not in path.parents:
            whole = path.read_bytes() if path.is_file() else b"folder"
            found[str(path)] = hashlib.sha256(whole).hexdigest()
    return found


@contextmanager
def written_only_in(out: Path, around: Path) -> Iterator[None]:
    """Fail if anything but ``out`` is changed below ``around`` inside the ``with`` block, or nothing is written."""
    before = content(around, out)
    yield
    assert content(around, out) == before
    assert any(path.is_file() for path in out.rglob("*"))


# ------------------------------------------------------------------------------------------------------------ names


@given(st.lists(parts, min_size=1, max_size=6))
def test_names_of_results_have_no_folders(paths):
    names = output_names(paths)
    assert len(set(names)) == len(paths)
    for name in names:
        for ending in (".npy", ".mp4", ".timeline.json"):
            assert os.path.basename(name + ending) == name + ending
            assert os.path.normpath(os.path.join("/out", name + ending)) == "/out/" + name + ending
            assert "\\" not in name and "\0" not in name


@given(st.lists(st.tuples(parts, parts), max_size=5, unique_by=lambda video: video[1]))
def test_rewritten_videos_stay_below_their_folder(videos):
    for name in target_names(videos):
        assert os.path.normpath(name) == name
        assert not name.startswith(("/", "..")) and "\\" not in name and "\0" not in name


@given(parts, st.sampled_from(["http://host/", "https://host/a/", "http://host", "ftp://"]))
def test_downloads_stay_in_the_cache(path, host):
    place = cached_path(host + path)
    assert place.parent == cached_path("http://host/x").parent
    assert place.name not in (".", "..") and "\\" not in place.name


# ----------------------------------------------------------------------------------------------------------- writing


def test_features_of_any_list(tmp_path):
    out = tmp_path / "a" / "out"
    out.mkdir(parents=True)
    rows = [(path, np.full(2, number, np.float32)) for number, path in enumerate(HOSTILE)]
    with written_only_in(out, tmp_path):
        write_features(rows, str(out))
    found = sorted(float(np.load(path)[0]) for path in out.iterdir())
    assert found == list(range(len(HOSTILE))), "each video has a file of its own"


def test_labelled_videos_of_any_list(tmp_path):
    paths = [path for path in HOSTILE if "\0" not in path]  # those are refused before
    places = LabelledPlaces(str(tmp_path), paths)
    found = [places.place(name) for name in output_names(paths)]
    assert {place.parent for place in found} == {tmp_path}
    assert len(set(found)) == len(paths)


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "x.npy").symlink_to(secret)
    with written_only_in(out, tmp_path):
        write_features([("x.mp4", np.zeros(2, np.float32))], str(out))
    assert not (out / "x.npy").is_symlink()
    (out / "y").symlink_to(tmp_path / "not there")
    with written_only_in(out, tmp_path), atomic_write(out / "y") as file:
        file.write("x")


def test_a_prediction(tmp_path, toy_set, monkeypatch, capsys):  # noqa: F811
    place = tmp_path / "place" / "deep"
    place.mkdir(parents=True)
    cfg = toy_cfg(toy_set, tmp_path / "run", "TEST.NUM_ENSEMBLE_VIEWS", "1", "TEST.NUM_SPATIAL_CROPS", "1")
    weights = tmp_path / "w.pyth"
    torch.save({"model_state": new_model(cfg, torch.device("cpu")).state_dict(), "cfg": dump(cfg)}, weights)
    video = sorted((toy_set / "videos").glob("test*.mp4"))[0].read_bytes()
    for name in ("up.mp4", "side/up.mp4", "place/..mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(video)
    (place / "list.txt").write_text(f"../../up.mp4\n{tmp_path}/side/up.mp4\n../..mp4\n../../not there.mp4\n")
    monkeypatch.chdir(place)
    out = place / "out"
    out.mkdir()
    with written_only_in(out, tmp_path):
        words = ["--features", "out/f", "--video", "out/v", "--json", "out/all.json", "--device", "cpu"]
        assert predict.main([str(weights), "@list.txt", *words]) == 1  # one is not there
    assert "cannot be read" in capsys.readouterr().err
    assert len(list((out / "f").iterdir())) == len(list((out / "v").iterdir())) == 3


def test_a_run(tmp_path, toy_set, capsys):  # noqa: F811
    lines = [
        *entries(toy_set, "test")[:2],
        *(f"{path} 1" for path in ("../../outside.mp4", "/etc/hostname", "..", "a/../../b.mp4")),
    ]
    data = rewrite(toy_set, tmp_path / "data", test=lines)
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    views = ["TEST.NUM_ENSEMBLE_VIEWS", "1", "TEST.NUM_SPATIAL_CROPS", "1", "DATA.MAX_BAD_FRACTION", "1.0"]
    paths = ["DATA.PATH_TO_DATA_DIR", str(data), "OUTPUT_DIR", str(out), "TRAIN.ENABLE", "False"]
    with written_only_in(out, tmp_path):
        assert run_net.main(["--cfg", str(data / "toy.yaml"), *paths, *views]) == 1
    assert (out / "test" / "predictions.csv").exists()


LABELS = ("../../evil", "/abs/evil", "..", "ok\\..\\..\\evil")


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_prepared_set(tmp_path, multi_label):
    place = tmp_path / "place" / "deep"
    place.mkdir(parents=True)
    names = ["../outside/v.mp4", f"{tmp_path}/place/abs.mp4", "in/../v.mp4", "..mp4"]
    (place / "in").mkdir()
    rows = ["path,label"]
    for number, (name, label) in enumerate(zip(names, LABELS, strict=True)):
        path = place / name
        path.parent.mkdir(exist_ok=True)
        write_video(path, moving_square(5 + number, 32, 48, color=(20 + 50 * number, 99, 60)), crf=30)
        rows.append(f"{name},{label}" + (f"|{LABELS[number - 1]}" if multi_label else ""))
    (place / "list.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out" / "set"
    out.mkdir(parents=True)
    with written_only_in(out, tmp_path):
        lists = ListOptions(label_separator="|" if multi_label else None)
        made, _ = prepare(place / "list.csv", out, lists=lists, transcode=TranscodeSettings(short_side=16))
    assert made["multi_label"] == multi_label
    assert set(made["classes"]) == set(LABELS)
    assert len(list((out / "videos").rglob("*.mp4"))) == 4
