"""The multi-view test: every number recomputed from single views."""

from __future__ import annotations

import csv
import os
import shutil
import signal

import numpy as np
import pytest
import simplejson
import torch

from tests.engine.training import MULTI_LABEL, SEVERAL, several
from tests.helpers import write_text, write_truncated
from tests.toy import CLASSES, entries, rewrite, toy_cfg
from uniformer_video.datasets import build_dataset
from uniformer_video.engine import setup, tester
from uniformer_video.engine.checkpoint import checkpoint_path
from uniformer_video.runtime import stopping
from uniformer_video.runtime.errors import ConfigError, DataError, WeightError
from uniformer_video.transforms.spatial import resize_short_side, view_crop
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.sampling import DenseSampler

__all__ = ["several"]

CPU = torch.device("cpu")


@pytest.fixture
def tested(toy_set, tmp_path):
    """Return a function that tests random weights with overrides and gives (exit code, results)."""

    def run(*overrides, data=toy_set):
        cfg = toy_cfg(data, tmp_path / "out", *map(str, overrides))
        code = tester.Tester(cfg, CPU).run()
        return code, Results(tmp_path / "out" / "test")

    return run


class Results:
    def __init__(self, folder):
        with np.load(folder / "predictions.npz") as content:
            self.scores, self.labels, self.paths = (content[name] for name in ("scores", "labels", "paths"))
        with open(folder / "predictions.csv", encoding="utf-8", newline="") as file:
            self.table = list(csv.DictReader(file))
        self.summary = simplejson.loads((folder / "summary.json").read_text())


def logits_one_by_one(cfg, paths, clips, crops):
    """Return logits (videos, views, K), each view decoded, cut and scored by itself."""
    model = setup.new_model(cfg, CPU).eval()
    sampler = DenseSampler(4, 2)
    rows = []
    for path in paths:
        for clip in range(clips):
            for crop in range(crops):
                with open_video(path) as reader, torch.no_grad():
                    frames = reader.frames_at(sampler.view(reader.num_frames, clip, clips).tolist())
                    view = view_crop(resize_short_side(frames, 32), 32, crop, crops)
                    rows.append(model(((view.permute(3, 0, 1, 2)[None] / 255) - 0.45) / 0.225)[0])
    return torch.stack(rows).view(len(paths), clips * crops, -1).double()


COMBINE = {
    ("sum", "logits"): lambda x: x.sum(1),
    ("max", "logits"): lambda x: x.amax(1),
    ("sum", "softmax"): lambda x: x.softmax(2).sum(1),
    ("max", "softmax"): lambda x: x.softmax(2).amax(1),
}
SHARES = {
    ("sum", "logits"): lambda x: x.mean(1).softmax(1),
    ("max", "logits"): lambda x: x.amax(1).softmax(1),
    ("sum", "softmax"): lambda x: x.softmax(2).mean(1),
    ("max", "softmax"): lambda x: x.softmax(2).amax(1) / x.softmax(2).amax(1).sum(1, keepdim=True),
}


@pytest.mark.parametrize(("method", "score"), list(COMBINE))
@pytest.mark.parametrize(("clips", "crops"), [(2, 3), (1, 1), (3, 2)])
def test_scores_are_those_of_single_views_put_together(toy_set, tested, method, score, clips, crops):
    overrides = (
        *("TEST.NUM_ENSEMBLE_VIEWS", clips, "TEST.NUM_SPATIAL_CROPS", crops),
        *("TEST.ENSEMBLE_METHOD", method, "TEST.ENSEMBLE_SCORE", score),
    )
    code, results = tested(*overrides)
    paths = [line.rpartition(" ")[0] for line in entries(toy_set, "test")]
    logits = logits_one_by_one(toy_cfg(toy_set, toy_set / "unused"), paths, clips, crops)
    assert code == 0
    assert (results.scores.dtype, results.scores.shape) == (np.float32, (6, 3))
    np.testing.assert_allclose(results.scores, COMBINE[method, score](logits).numpy(), atol=2e-5)
    assert results.paths.tolist() == paths
    assert results.labels.tolist() == [0, 1, 2, 0, 1, 2]
    shares = SHARES[method, score](logits).numpy()
    for row, share, own in zip(results.table, shares, results.scores, strict=True):
        order = sorted(range(3), key=lambda k: (-own[k], k))
        assert [int(row[f"top{n}_class"]) for n in (1, 2, 3)] == order
        assert [row[f"top{n}_name"] for n in (1, 2, 3)] == [CLASSES[k] for k in order]
        assert [float(row[f"top{n}_score"]) for n in (1, 2, 3)] == pytest.approx([share[k] for k in order], abs=1e-5)
    assert (results.summary["ensemble_method"], results.summary["ensemble_score"]) == (method, score)
    assert (results.summary["views"], results.summary["clips"], results.summary["crops"]) == (
        clips * crops,
        clips,
        crops,
    )


def test_the_summary_is_what_the_arrays_say(tested, log):
    _, results = tested()
    predicted = results.scores.argmax(1)
    right = predicted == results.labels
    per_class = [100 * right[results.labels == k].mean() for k in range(3)]
    summary = results.summary
    assert summary["top1"] == pytest.approx(100 * right.mean())
    assert summary["top5"] is None  # of three classes the best five are all
    assert summary["mean_class_accuracy"] == pytest.approx(np.mean(per_class))
    assert (summary["videos"], summary["missing"], summary["weights"]) == (6, [], "random")
    assert summary["absent"] == 0
    assert summary["seconds"] > 0
    assert "INFO: testing 6 videos x 6 views (2 clips x 3 crops)" in log
    line = next(line for line in log if line.startswith("INFO: test: "))
    assert line.startswith(
        f"INFO: test: top-1 {summary['top1']:.2f} %  mean class accuracy "
        f"{summary['mean_class_accuracy']:.2f} %  (6 videos x 6 views, "
    )
    stats = [simplejson.loads(line.split("json_stats: ")[1]) for line in log if "json_stats" in line]
    assert [entry["_type"] for entry in stats] == ["test_final"]
    assert stats[0] == {
        "_type": "test_final",
        "top1_acc": pytest.approx(summary["top1"]),
        "videos": 6,
        "views": 6,
        "mean_class_accuracy": pytest.approx(summary["mean_class_accuracy"]),
        "weights": "random",
        "seconds": pytest.approx(summary["seconds"], rel=1e-6),
    }


def test_top5_of_more_classes(toy_set, tmp_path, log):
    data = rewrite(toy_set, tmp_path / "set")
    (data / "classes.json").unlink()
    tester.Tester(toy_cfg(data, tmp_path / "out", "MODEL.NUM_CLASSES", "8"), CPU).run()
    results = Results(tmp_path / "out" / "test")
    best = np.argsort(-results.scores, axis=1, kind="stable")[:, :5]
    within = (best == results.labels[:, None]).any(1)
    assert results.summary["top5"] == pytest.approx(100 * within.mean())
    assert list(results.table[0]) == [
        *("path", "label"),
        *(f"top{n}_{part}" for n in range(1, 6) for part in ("class", "score")),
    ]
    assert any(f"  top-5 {results.summary['top5']:.2f} %  " in line for line in log)
    stats = [simplejson.loads(line.split("json_stats: ")[1]) for line in log if "json_stats" in line]
    assert stats[0]["top5_acc"] == pytest.approx(results.summary["top5"])


@pytest.mark.parametrize("size", [1, 5, 7, 100])
def test_views_at_a_time_change_nothing_to_speak_of(tested, size):
    base = tested("TEST.BATCH_SIZE", 12)[1]
    other = tested("TEST.BATCH_SIZE", size)[1]
    np.testing.assert_allclose(other.scores, base.scores, atol=1e-5)
    assert other.paths.tolist() == base.paths.tolist()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_no_bit(tested, workers):
    base = tested()[1].scores
    assert np.array_equal(tested("DATA_LOADER.NUM_WORKERS", workers)[1].scores, base)


def test_half_precision_is_close(tested):
    base, half = tested()[1].scores, tested("TRAIN.MIXED_PRECISION", "bf16")[1].scores
    assert half.dtype == np.float32
    assert 0 < np.abs(half - base).max() < 0.05 * np.abs(base).max() + 0.05


def test_the_network_is_in_evaluation_mode(tested):
    base = tested()[1].scores
    assert np.array_equal(tested("UNIFORMER.DROP_DEPTH_RATE", 0.9, "UNIFORMER.HEAD_DROPOUT_RATE", 0.9)[1].scores, base)


def test_the_weights_of_a_checkpoint_are_named(toy_set, tmp_path, tested):
    path = checkpoint_path(tmp_path / "out", 3)
    path.parent.mkdir(parents=True)
    model = setup.new_model(toy_cfg(toy_set, tmp_path / "out"), CPU)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([0.0, 4.0, 2.0]))
    torch.save({"model_state": model.state_dict()}, path)
    _, results = tested()
    assert results.summary["weights"] == str(path)
    assert np.array_equal(results.scores, np.tile(np.float32([0, 24, 12]), (6, 1)))  # six views
    assert results.summary["top1"] == pytest.approx(100 / 3)


# --------------------------------------------------------------------------------------------------------- missing


@pytest.fixture
def with_missing(toy_set, tmp_path, broken_video):
    """Return a set whose test list has two broken videos among six good ones."""
    lines = entries(toy_set, "test")
    source = toy_set / "videos" / "test red 0.mp4"
    cut = write_truncated(tmp_path / "cut off.mp4", source, 0.6)
    return rewrite(toy_set, tmp_path / "set", test=[f"{broken_video} 0", *lines[:4], f"{cut} 2", *lines[4:]])


def cut_off(data):
    return data.parent / "cut off.mp4"


def cause_of(path):
    """Return what a reader says is wrong with a file."""
    with pytest.raises(DecodeError) as error, open_video(path) as reader:
        reader.frames_at(list(range(reader.num_frames)))
    assert error.value.cause and path not in error.value.cause
    return error.value.cause


@pytest.mark.parametrize(("allow", "expected"), [(False, 1), (True, 0)])
@pytest.mark.parametrize("size", [12, 2])  # several videos, or a part of one, at a time
def test_a_missing_video_is_named_and_never_replaced(with_missing, tested, log, broken_video, allow, expected, size):
    base = tested()[1]
    log.clear()
    code, results = tested("TEST.ALLOW_MISSING", allow, "TEST.BATCH_SIZE", size, data=with_missing)
    assert code == expected
    assert results.paths.tolist() == base.paths.tolist()
    np.testing.assert_allclose(results.scores, base.scores, atol=1e-5)
    assert results.summary["videos"] == 6
    assert results.summary["top1"] == base.summary["top1"]
    missing = results.summary["missing"]
    assert [entry["path"].rpartition("/")[2] for entry in missing] == ["broken.mp4", "cut off.mp4"]
    assert missing == [{"path": path, "cause": cause_of(path)} for path in (broken_video, str(cut_off(with_missing)))]
    errors = [line for line in log if line.startswith("ERROR: ")]
    way_out = "" if allow else "; exit code 1 (TEST.ALLOW_MISSING True accepts it)"
    assert errors[0] == f"ERROR: 2 of 8 test videos could not be read{way_out}:"
    assert errors[1:] == [f"ERROR:   {entry['path']}: {entry['cause']}" for entry in missing]
    said = [line for line in log if line.startswith("WARNING: unreadable test video ")]
    assert said == [f"WARNING: unreadable test video {entry['path']}: {entry['cause']}" for entry in missing]


def test_no_more_than_ten_missing_videos_are_printed(toy_set, tmp_path, tested, log):
    names = [str(write_text(tmp_path / f"b{n:02d}.mp4")) for n in range(13)]
    data = rewrite(toy_set, tmp_path / "set", test=[*entries(toy_set, "test"), *(f"{name} 0" for name in names)])
    code, results = tested(data=data)
    assert code == 1
    assert [entry["path"] for entry in results.summary["missing"]] == names
    errors = [line for line in log if line.startswith("ERROR: ")]
    assert errors[0].startswith("ERROR: 13 of 19 test videos could not be read; exit code 1")
    assert [line.split(": ")[1].strip() for line in errors[1:-1]] == names[:10]
    assert errors[-1] == f"ERROR:   and 3 more in {tmp_path / 'out' / 'test' / 'summary.json'}"
    warnings = [line for line in log if line.startswith("WARNING: ") and "readable" in line]
    assert [line.split(": ")[1].rpartition(" ")[2] for line in warnings[:-1]] == names[:10]
    assert warnings[-1] == "WARNING: further unreadable test videos are counted at the end"


def test_videos_that_are_not_there_are_counted_by_themselves(toy_set, tmp_path, monkeypatch, tested, broken_video, log):
    gone = [f"{tmp_path}/gone{n}.mp4" for n in range(2)]
    lines = [*entries(toy_set, "test"), f"{broken_video} 0", *(f"{path} 1" for path in gone)]
    data = rewrite(toy_set, tmp_path / "set", test=lines)

    def build(*arguments):
        made = build_dataset(*arguments)
        made.absent = tuple(gone)
        return made

    monkeypatch.setattr(tester, "build_dataset", build)
    code, results = tested(data=data)
    assert code == 1
    assert (results.summary["absent"], len(results.summary["missing"]), results.summary["videos"]) == (2, 3, 6)
    assert any("ERROR: 3 of 9 test videos could not be read, 2 of them because they are not there;" in x for x in log)


def test_nothing_can_be_read(toy_set, tmp_path, broken_video, tested):
    data = rewrite(toy_set, tmp_path / "set", test=[f"{broken_video} 0"])
    code, results = tested(data=data)
    assert code == 1
    assert results.scores.shape == (0, 3) and results.table == []
    summary = results.summary
    assert (summary["top1"], summary["top5"], summary["mean_class_accuracy"], summary["videos"]) == (None,) * 3 + (0,)
    assert summary["missing"] == [{"path": broken_video, "cause": cause_of(broken_video)}]


def test_a_video_that_vanishes_is_missing(toy_set, tmp_path, tested):
    data = rewrite(toy_set, tmp_path / "set", test=entries(toy_set, "test")[:1] + [f"{tmp_path}/gone.mp4 1"])
    code, results = tested(data=data)
    assert code == 1
    gone = f"{tmp_path}/gone.mp4"
    assert results.summary["missing"] == [{"path": gone, "cause": cause_of(gone)}]


def test_mistakes_show_before_anything_runs(toy_set, tmp_path):
    data = rewrite(toy_set, tmp_path / "set")
    shutil.copy(data / "test.csv", data / "t.csv")
    (data / "test.csv").write_text("")
    with pytest.raises(DataError, match=r"test.csv: an empty list"):
        tester.Tester(toy_cfg(data, tmp_path / "out"), CPU)


def test_weights_to_test_are_tried_before_the_training(toy_set, tmp_path, log):
    def cfg(path, *overrides):
        return toy_cfg(toy_set, tmp_path / "out", "TEST.CHECKPOINT_FILE_PATH", str(path), *overrides)

    other = tmp_path / "other.pyth"
    torch.save(setup.new_model(toy_cfg(toy_set, tmp_path, "MODEL.NUM_CLASSES", "5"), CPU).state_dict(), other)
    with pytest.raises(WeightError, match=r"the head has 5 classes in the file and 3 in MODEL.NUM_CLASSES"):
        tester.Tester(cfg(other), CPU)
    gone = tmp_path / "gone.pyth"
    with pytest.raises(WeightError, match=str(gone)):
        tester.Tester(cfg(gone), CPU)
    # Without training they are read once, before anything of an earlier run is replaced.
    for path in (other, gone):
        with pytest.raises(WeightError):
            tester.Tester(cfg(path, "TRAIN.ENABLE", "False"), CPU)
    # This run may still write a checkpoint of its own, such as the best one.
    assert tester.Tester(cfg(tmp_path / "out" / "checkpoints" / "checkpoint_best.pyth"), CPU).views == 6
    good = tmp_path / "good.pyth"
    torch.save(setup.new_model(toy_cfg(toy_set, tmp_path), CPU).state_dict(), good)
    log.clear()
    tester.Tester(cfg(good), CPU)
    assert log[-1].startswith(f"INFO: test weights: {good}: ")


# -------------------------------------------------------------------------------------------------- several labels


def plain_average_precision(scores, positive):
    """Return the sum over thresholds of (recall gained) * precision, by counting."""
    total = before = 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = [p for s, p in zip(scores, positive, strict=True) if s >= threshold]
        recall = sum(chosen) / sum(positive)
        total, before = total + (recall - before) * sum(chosen) / len(chosen), recall
    return total


@pytest.mark.parametrize("method", ["sum", "max"])
def test_several_labels(toy_set, tested, several, log, method):
    code, results = tested(*MULTI_LABEL, "TEST.ENSEMBLE_METHOD", method)
    assert code == 0
    paths = [line.rpartition(" ")[0] for line in entries(toy_set, "test")]
    logits = logits_one_by_one(toy_cfg(toy_set, toy_set / "unused"), paths, 2, 3)
    np.testing.assert_allclose(results.scores, COMBINE[method, "logits"](logits).numpy(), atol=2e-5)
    own = [SEVERAL[n % 3] for n in range(6)]
    assert results.labels.dtype == np.uint8
    assert results.labels.tolist() == [[int(k in numbers) for k in range(3)] for numbers in own]
    assert [row["label"] for row in results.table] == ["|".join(map(str, numbers)) for numbers in own]
    assert [row["label_name"] for row in results.table] == ["|".join(CLASSES[k] for k in numbers) for numbers in own]
    shares = (logits.mean(1) if method == "sum" else logits.amax(1)).sigmoid().numpy()
    for row, share, scores in zip(results.table, shares, results.scores, strict=True):
        order = sorted(range(3), key=lambda k: (-scores[k], k))
        assert [int(row[f"top{n}_class"]) for n in (1, 2, 3)] == order
        assert [float(row[f"top{n}_score"]) for n in (1, 2, 3)] == pytest.approx([share[k] for k in order], abs=1e-5)
    each = [plain_average_precision(results.scores[:, k].tolist(), results.labels[:, k].tolist()) for k in range(3)]
    summary = results.summary
    assert summary["map"] == pytest.approx(100 * np.mean(each))
    assert summary["per_class"] == [
        {"class": k, "name": CLASSES[k], "average_precision": pytest.approx(100 * each[k]), "videos": (4, 2, 2)[k]}
        for k in range(3)
    ]
    assert not {"top1", "top5", "mean_class_accuracy"} & set(summary)
    line = next(line for line in log if line.startswith("INFO: test: "))
    assert line.startswith(f"INFO: test: mAP {summary['map']:.2f} %  (6 videos x 6 views, ")
    stats = [simplejson.loads(line.split("json_stats: ")[1]) for line in log if "json_stats" in line]
    assert set(stats[0]) == {"_type", "map", "videos", "views", "weights", "seconds"}
    assert stats[0]["map"] == pytest.approx(summary["map"])


def test_a_class_that_no_test_video_has_is_left_out_of_the_mean(toy_set, tmp_path, tested, several):
    data = rewrite(toy_set, tmp_path / "set", test=[x for x in entries(toy_set, "test") if not x.endswith(" 2")])
    summary = tested(*MULTI_LABEL, data=data)[1].summary
    each = [entry["average_precision"] for entry in summary["per_class"]]
    assert each[2] is None and summary["map"] == pytest.approx((each[0] + each[1]) / 2)


def test_nothing_of_several_labels_can_be_read(toy_set, tmp_path, broken_video, tested, several):
    data = rewrite(toy_set, tmp_path / "set", test=[f"{broken_video} 0"])
    code, results = tested(*MULTI_LABEL, data=data)
    assert code == 1 and results.labels.shape == (0, 3) and results.summary["map"] is None


def test_a_softmax_does_not_go_with_several_labels(toy_set, tmp_path, several):
    with pytest.raises(ConfigError) as error:
        tester.Tester(toy_cfg(toy_set, tmp_path, *map(str, MULTI_LABEL), "TEST.ENSEMBLE_SCORE", "softmax"), CPU)
    assert str(error.value) == (
        "TEST.ENSEMBLE_SCORE is softmax, which makes the classes of a video depend on each other, but DATA.MULTI_LABEL "
        "is True; set TEST.ENSEMBLE_SCORE logits"
    )


def test_a_signal_ends_a_test_and_leaves_nothing(toy_set, tmp_path, monkeypatch):
    cfg = toy_cfg(toy_set, tmp_path / "out", "TRAIN.ENABLE", "False")
    made = tester.Tester(cfg, CPU)
    real, batches = made.inputs.normalized, []

    def signalled(clips, device):
        batches.append(len(clips))
        os.kill(os.getpid(), signal.SIGTERM)
        return real(clips, device)

    monkeypatch.setattr(made.inputs, "normalized", signalled)
    with stopping.listening(), pytest.raises(stopping.Stopped) as caught:
        made.run()
    assert str(caught.value) == "stopped by SIGTERM in the test, of which nothing is kept; the same command tests anew"
    assert len(batches) == 1
    assert not (tmp_path / "out" / "test").exists()
