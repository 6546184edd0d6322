from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.toy import toy_cfg
from uniformer_video.engine import contact_sheet as room
from uniformer_video.engine.contact_sheet import choose_videos, contact_sheet
from uniformer_video.engine.results import confidences, write_predictions
from uniformer_video.runtime.errors import DataError
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import DecodeError


def test_wrong_ones_come_first_then_classes_in_turn() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    predictions = np.array([0, 0, 0, 1, 0, 2, 2])
    assert choose_videos(labels, predictions, 5) == [4, 0, 3, 5, 1]


def test_at_most_half_are_wrong_while_right_ones_can_fill_the_rest() -> None:
    labels = np.zeros(10, dtype=int)
    predictions = np.array([1] * 8 + [0] * 2)
    assert choose_videos(labels, predictions, 4) == [0, 1, 8, 9]
    assert choose_videos(labels, predictions, 6) == [0, 1, 2, 3, 8, 9]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30),
    st.integers(1, 12),
)
def test_choice_has_no_repeats_and_is_as_long_as_it_can_be(pairs: list[tuple[int, int]], limit: int) -> None:
    labels, predictions = (np.array([p[i] for p in pairs], dtype=int) for i in (0, 1))
    chosen = choose_videos(labels, predictions, limit)
    assert len(chosen) == len(set(chosen)) == min(limit, len(pairs))
    wrong = [labels[n] != predictions[n] for n in chosen]
    assert wrong == sorted(wrong, reverse=True)


def _write(cfg_folder: Path, toy_set: Path, scores: torch.Tensor) -> list[str]:
    paths = [str(p) for p in sorted((toy_set / "videos").glob("test *.mp4"))][: len(scores)]
    shares = confidences(scores, views=6, method="sum", score="logits")
    labels = list(range(len(scores)))
    write_predictions(
        cfg_folder / "test",
        scores=scores,
        shares=shares,
        labels=labels,
        paths=paths,
        class_names=["red", "green", "blue"],
    )
    return paths


def test_rows_hold_frames_labels_and_shares(toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.tensor([[12.0, 0.0, 0.0], [0.0, 0.0, 6.0], [0.0, 0.0, 6.0]])
    paths = _write(tmp_path, toy_set, scores)
    seen = {}
    monkeypatch.setattr(
        room, "draw_contact_sheet", lambda rows, path, names, columns: seen.update(rows=rows, names=names)
    )
    contact_sheet(toy_cfg(toy_set, tmp_path), videos=3)
    rows = seen["rows"]
    assert [row.path for row in rows] == [paths[1], paths[0], paths[2]]
    assert [(row.label, row.prediction) for row in rows] == [(1, 2), (0, 0), (2, 2)]
    # Six summed views: mean logits are 2 and 1 against 0.
    assert rows[1].score == pytest.approx(np.e**2 / (np.e**2 + 2), rel=1e-6)
    assert rows[0].score == pytest.approx(np.e / (np.e + 2), rel=1e-6)
    assert all(row.frames.shape[0] == 4 and row.frames.dtype == np.uint8 for row in rows)
    assert seen["names"] == ["red", "green", "blue"]


def test_names_are_those_of_the_test(toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}
    monkeypatch.setattr(room, "draw_contact_sheet", lambda rows, path, names, columns: seen.update(names=names))
    _write(tmp_path, toy_set, torch.eye(3))
    cfg = toy_cfg(toy_set, tmp_path, "DATA.PATH_TO_DATA_DIR", str(tmp_path / "moved"))
    contact_sheet(cfg, videos=1)
    assert seen["names"] == ["red", "green", "blue"]
    # A test of a version that did not write them: from the data.
    source = tmp_path / "test" / "predictions.npz"
    with np.load(source) as content:
        old = {name: content[name] for name in ("scores", "labels", "paths")}
    np.savez(source, **old)
    contact_sheet(cfg, videos=1)
    assert seen["names"] == []
    contact_sheet(toy_cfg(toy_set, tmp_path), videos=1)
    assert seen["names"] == ["red", "green", "blue"]


def test_draws_a_picture(toy_set: Path, tmp_path: Path) -> None:
    _write(tmp_path, toy_set, torch.eye(3))
    path = contact_sheet(toy_cfg(toy_set, tmp_path), videos=2)
    assert path == tmp_path / "test" / "contact_sheet.png"
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        # Two tiles side by side are wider than high, and both borders are green: both predictions are right.
        assert picture.width > picture.height
        colors = {c for _, c in picture.convert("RGB").getcolors(1 << 24)}
    assert (29, 138, 75) in colors
    assert (200, 50, 43) not in colors


@pytest.mark.parametrize("content", [None, b"", b"no video\n" * 9])
def test_a_video_that_cannot_be_read_any_more(toy_set: Path, tmp_path: Path, content: bytes | None) -> None:
    paths = [str(p) for p in sorted((toy_set / "videos").glob("test *.mp4"))][:2]
    lost = tmp_path / "lost.mp4"
    if content is not None:
        lost.write_bytes(content)
    scores, labels = torch.eye(3), [0, 1, 2]
    every = [*paths, str(lost)]
    write_predictions(
        tmp_path / "test", scores=scores, shares=scores, labels=labels, paths=every, class_names=["r", "g", "b"]
    )
    with pytest.raises(DecodeError) as cause:
        open_video(str(lost))
    with pytest.raises(DataError) as error:
        contact_sheet(toy_cfg(toy_set, tmp_path), videos=3)
    assert str(error.value) == (
        f"{lost}: {cause.value.cause}; the sheet shows the tested videos, from the folder the test ran in"
    )
    assert not (tmp_path / "test" / "contact_sheet.png").exists()
    # One that is not shown may be gone.
    assert contact_sheet(toy_cfg(toy_set, tmp_path), videos=2).exists()


def test_without_predictions_it_says_what_to_run(toy_set: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"predictions\.npz: no such file; run the test first \(TEST\.ENABLE True\)"):
        contact_sheet(toy_cfg(toy_set, tmp_path))


def test_a_set_with_several_labels_has_no_sheet(toy_set: Path, tmp_path: Path) -> None:
    scores = torch.eye(2)
    labels = [(0, 1), ()]
    write_predictions(
        tmp_path / "test",
        scores=scores,
        shares=scores,
        labels=labels,
        paths=["a", "b"],
        class_names=None,
        multi_label=True,
    )
    with pytest.raises(DataError) as error:
        contact_sheet(toy_cfg(toy_set, tmp_path))
    source = tmp_path / "test" / "predictions.npz"
    assert str(error.value) == f"{source}: its videos have several labels each; the sheet is for sets with one"
