"""The files of a test."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import simplejson
import torch

from uniformer_video.engine.results import confidences, multi_hot, read_predictions, write_predictions, write_summary
from uniformer_video.runtime.errors import DataError, WriteError


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


# ----------------------------------------------------------------------------------------------------- confidences


def test_summed_logits_are_averaged_first():
    logits = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = confidences(logits.sum(1), views=3, method="sum", score="logits")
    assert shares.dtype == torch.float32
    torch.testing.assert_close(shares.double(), logits.mean(1).softmax(1), atol=1e-6, rtol=1e-5)


def test_largest_logits_are_taken_as_they_are():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    expected = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    shares = confidences(logits, views=7, method="max", score="logits")
    assert shares[0].tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("method", ["sum", "max"])
def test_probabilities_are_normalised(method):
    scores = torch.tensor([[1.5, 0.5, 1.0], [0.2, 0.6, 0.8]])
    shares = confidences(scores, views=3, method=method, score="softmax")
    torch.testing.assert_close(shares, torch.tensor([[0.5, 1 / 6, 1 / 3], [0.125, 0.375, 0.5]]))


@pytest.mark.parametrize("method", ["sum", "max"])
def test_several_labels_are_decided_each_by_itself(method):
    scores = torch.tensor([[3.0, -6.0, 0.0]])
    shares = confidences(scores, views=3, method=method, score="logits", multi_label=True)
    logits = [1, -2, 0] if method == "sum" else [3, -6, 0]
    assert shares[0].tolist() == pytest.approx([1 / (1 + math.exp(-x)) for x in logits])


def test_a_softmax_of_several_labels_is_a_defect():
    with pytest.raises(AssertionError, match="a softmax makes classes depend on each other"):
        confidences(torch.zeros(1, 2), views=1, method="sum", score="softmax", multi_label=True)


# ----------------------------------------------------------------------------------------------------- predictions

PATHS = ["dir/a b.mp4", 'c, "d".mp4', "é/本.mp4"]


def write(folder, scores, shares=None, names=None, labels=(1, 0, 5)):
    shares = scores.softmax(1) if shares is None else shares
    write_predictions(folder, scores=scores, shares=shares, labels=labels, paths=PATHS, class_names=names)


def test_the_arrays(tmp_path):
    scores = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    write(tmp_path / "new" / "test", scores)
    with np.load(tmp_path / "new" / "test" / "predictions.npz", allow_pickle=False) as content:
        assert sorted(content) == ["class_names", "labels", "paths", "scores"]
        assert content["class_names"].tolist() == []
        assert content["scores"].dtype == np.float32
        assert np.array_equal(content["scores"], scores.numpy().astype(np.float32))
        assert content["labels"].dtype == np.int64 and content["labels"].tolist() == [1, 0, 5]
        assert content["paths"].tolist() == PATHS


def test_the_table_has_the_five_best(tmp_path):
    scores = torch.tensor([[0, 1, 2, 3, 4, 5.0, 6], [9, 8, 7, 6, 5, 4, 3], [5, 5, 9, 5, 5, 5, 5]])
    shares = torch.arange(21).view(3, 7) / 100
    write(tmp_path, scores, shares)
    header, *rows = read_csv(tmp_path / "predictions.csv")
    assert header == ["path", "label", *(f"top{n}_{part}" for n in range(1, 6) for part in ("class", "score"))]
    assert rows[0] == [
        PATHS[0],
        "1",
        *["6", "0.060000", "5", "0.050000", "4", "0.040000", "3", "0.030000", "2", "0.020000"],
    ]
    assert rows[1] == [
        PATHS[1],
        "0",
        *["0", "0.070000", "1", "0.080000", "2", "0.090000", "3", "0.100000", "4", "0.110000"],
    ]
    assert rows[2][2::2] == ["2", "0", "1", "3", "4"]  # equal scores: the lower class first
    assert [row[0] for row in rows] == PATHS


def test_names_beside_numbers_and_fewer_classes_than_five(tmp_path):
    scores = torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.0, 1.0]])
    write(tmp_path, scores, names=["run, fast", "jump"], labels=(1, 0, 0))
    header, *rows = read_csv(tmp_path / "predictions.csv")
    assert header == [
        *("path", "label", "label_name"),
        *("top1_class", "top1_name", "top1_score", "top2_class", "top2_name", "top2_score"),
    ]
    share = math.exp(2) / (math.exp(2) + 1)
    assert rows[0] == [PATHS[0], "1", "jump", "1", "jump", f"{share:.6f}", "0", "run, fast", f"{1 - share:.6f}"]


@pytest.mark.parametrize("names", [None, ["run, fast", "jump", "sit"]])
def test_several_labels_are_joined(tmp_path, names):
    scores = torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.0, 0.5], [0.0, 1.0, 2.0]])
    write_predictions(
        tmp_path,
        scores=scores,
        shares=scores.sigmoid(),
        labels=[(0, 2), (), (1,)],
        paths=PATHS,
        class_names=names,
        multi_label=True,
    )
    header, *rows = read_csv(tmp_path / "predictions.csv")
    assert [row[1] for row in rows] == ["0|2", "", "1"]
    if names:
        assert header[:3] == ["path", "label", "label_name"]
        assert [row[2] for row in rows] == ["run, fast|sit", "", "jump"]
    best = dict(zip(header, rows[0], strict=True))
    assert (best["top1_class"], best["top1_score"]) == ("1", f"{1 / (1 + math.exp(-2)):.6f}")
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as content:
        assert content["labels"].dtype == np.uint8
        assert content["labels"].tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_rows_of_classes():
    assert multi_hot([(2,), (), (0, 1, 2)], 3).tolist() == [[0, 0, 1], [0, 0, 0], [1, 1, 1]]
    assert multi_hot([], 4).shape == (0, 4)


def test_no_video_at_all(tmp_path):
    write_predictions(
        tmp_path, scores=torch.zeros(0, 6), shares=torch.zeros(0, 6), labels=[], paths=[], class_names=None
    )
    with np.load(tmp_path / "predictions.npz") as content:
        assert content["scores"].shape == (0, 6) and len(content["paths"]) == 0
    assert len(read_csv(tmp_path / "predictions.csv")) == 1


# --------------------------------------------------------------------------------------------------------- summary


def test_the_summary_is_json_whatever_the_numbers(tmp_path):
    summary = {"top1": 50.0, "top5": float("nan"), "videos": 3, "missing": [{"path": "é", "reason": "x"}], "w": "r"}
    write_summary(tmp_path / "test", summary)
    text = (tmp_path / "test" / "summary.json").read_text(encoding="utf-8")
    assert text.endswith("}\n") and "NaN" not in text
    assert simplejson.loads(text) == {**summary, "top5": None}


def test_results_are_replaced_whole(tmp_path):
    write_summary(tmp_path, {"top1": 1.0, "long": "x" * 1000})
    write_summary(tmp_path, {"top1": 2.0})
    assert simplejson.loads((tmp_path / "summary.json").read_text()) == {"top1": 2.0}
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


# ------------------------------------------------------------------------------------------------------ read again


def written(folder, **more):
    """Write the predictions of three videos and two classes; return the npz."""
    given = {
        "scores": torch.tensor([[1.0, 2.0], [3.0, 1.0], [0.5, 0.5]]),
        "labels": [1, 0, 0],
        "class_names": ["a", "b"],
        **more,
    }
    write_predictions(folder, shares=given["scores"].softmax(1), paths=PATHS, **given)
    return folder / "predictions.npz"


def test_predictions_are_read_as_they_were_written(tmp_path):
    found = read_predictions(written(tmp_path))
    assert found.scores.tolist() == [[1, 2], [3, 1], [0.5, 0.5]]
    assert found.labels.tolist() == [1, 0, 0]
    assert (found.paths, found.class_names) == (PATHS, ["a", "b"])
    assert {type(text) for text in (*found.paths, *found.class_names)} == {str}
    several = read_predictions(written(tmp_path, labels=[(1,), (0, 1), ()], class_names=None, multi_label=True))
    assert several.labels.tolist() == [[0, 1], [1, 1], [0, 0]]
    assert several.class_names == []


def test_predictions_of_older_versions_have_no_names(tmp_path):
    path = tmp_path / "predictions.npz"
    np.savez(path, scores=np.zeros((1, 2), np.float32), labels=np.zeros(1, np.int64), paths=np.array(["a"]))
    assert read_predictions(path).class_names == []


PARTS = {
    "scores": np.zeros((2, 3), np.float32),
    "labels": np.zeros(2, np.int64),
    "paths": np.array(["a", "b"]),
    "class_names": np.array(["x", "y", "z"]),
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": np.zeros(2, np.float32)}, "scores, labels or paths are of another kind"),
        ({"scores": np.zeros((2, 3), np.int64)}, "scores, labels or paths are of another kind"),
        ({"labels": np.zeros(2)}, "scores, labels or paths are of another kind"),
        ({"paths": np.array([["a", "b"]])}, "scores, labels or paths are of another kind"),
        ({"labels": np.zeros(3, np.int64)}, "2 scores, 3 labels and 2 paths"),
        ({"paths": np.array(["a"])}, "2 scores, 2 labels and 1 paths"),
        ({"paths": None}, "paths is not a file in the archive"),
        (
            {"paths": np.array([{1}, {2}], object)},
            "it holds objects whose building could run code, and was not loaded",
        ),
    ],
)
def test_other_archives_are_one_line(tmp_path, change, reason):
    path = tmp_path / "predictions.npz"
    np.savez(path, **{name: part for name, part in {**PARTS, **change}.items() if part is not None})
    with pytest.raises(DataError) as error:
        read_predictions(path)
    text = str(error.value).replace("'", "")
    assert text == f"{path} is damaged, or not what a test writes ({reason}); run the test again"


@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 0.99])
def test_predictions_that_were_cut_off(tmp_path, share):
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"predictions.npz is damaged, or not what a test writes \(.+\); run the test"):
        read_predictions(path)


def test_a_folder_for_results_that_cannot_be_made(tmp_path):
    (tmp_path / "test").touch()
    with pytest.raises(WriteError, match=r"test' cannot be written \(File exists\); check the folder"):
        written(tmp_path / "test")
    with pytest.raises(WriteError, match=r"test' cannot be written"):
        write_summary(tmp_path / "test", {})
