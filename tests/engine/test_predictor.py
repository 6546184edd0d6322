"""Predictions against the test of the same network, and against views decoded, cut and scored one by one."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

import uniformer_video
from tests.engine.predicting import test_videos, write_network
from tests.helpers import moving_square, write_truncated, write_video
from tests.toy import CLASSES, rewrite, toy_cfg
from uniformer_video.config import load_config, with_values
from uniformer_video.engine import launch
from uniformer_video.engine import predictor as engine_predictor
from uniformer_video.engine.predictor import Predictor, choose_device
from uniformer_video.models.build import MODELS
from uniformer_video.runtime.errors import ConfigError, UserError
from uniformer_video.transforms.spatial import resize_short_side, view_crop
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.sampling import DenseSampler


@pytest.fixture(scope="module")
def network(toy_set, tmp_path_factory):
    return write_network(toy_set, tmp_path_factory.mktemp("network") / "net.pyth")


@pytest.fixture(scope="module")
def predictor(network):
    return Predictor.from_checkpoint(network, device="cpu")


def one_by_one(predictor, frames, clips, crops):
    """Return the mean logits of a video and its mean features, each view cut and scored by itself."""
    logits, features = [], []
    for clip in range(clips):
        picked = frames[DenseSampler(4, 2).view(len(frames), clip, clips)]
        for crop in range(crops):
            view = view_crop(resize_short_side(picked, 32), 32, crop, crops)
            inputs = ((view.permute(3, 0, 1, 2)[None] / 255) - 0.45) / 0.225
            with torch.no_grad():
                logits.append(predictor.model(inputs)[0])
                features.append(predictor.model.forward_features(inputs)[-1].mean((0, 2, 3, 4)))
    return torch.stack(logits).mean(0), torch.stack(features).mean(0)


def test_a_run_predicts_what_its_test_wrote(toy_set, tmp_path, logger_restored):
    cfg = toy_cfg(toy_set, tmp_path / "run", "SOLVER.MAX_EPOCH", "1", "TEST.BATCH_SIZE", "9")
    assert launch.run(cfg) == 0
    with open(tmp_path / "run" / "test" / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == test_videos(toy_set)
    # The test scored the newest checkpoint; so that this is the one, whatever the validation said of it:
    (tmp_path / "run" / "checkpoints" / "checkpoint_best.pyth").unlink(missing_ok=True)
    predictor = Predictor.from_checkpoint(tmp_path / "run", device="cpu")
    assert predictor.source.endswith("checkpoint_epoch_00001.pyth (newest checkpoint, after epoch 1)")
    assert predictor.class_names == CLASSES
    for row, found in zip(rows, predictor.predict_many([row["path"] for row in rows]), strict=True):
        assert found.path == row["path"]
        for rank, best in enumerate(found.top(5), 1):
            assert [best.number, best.name] == [int(row[f"top{rank}_class"]), row[f"top{rank}_name"]]
            assert f"{best.score:.6f}" == row[f"top{rank}_score"]
        alone = predictor.predict(row["path"])
        torch.testing.assert_close(alone.scores, found.scores, rtol=0, atol=1e-6)


def test_scores_and_features_of_views_one_by_one(toy_set, predictor):
    path = test_videos(toy_set)[4]
    with open_video(path) as reader:
        frames = reader.frames_at(range(reader.num_frames))
    logits, features = one_by_one(predictor, frames, 2, 3)
    found = predictor.predict(path)
    torch.testing.assert_close(found.scores, logits.softmax(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.features, features, rtol=1e-4, atol=1e-5)
    assert torch.equal(predictor.features(path), found.features)
    assert found.features.shape == (32,)
    assert float(found.scores.sum()) == pytest.approx(1)
    assert found.top(2)[0].score == float(found.scores.max())
    assert found.label == CLASSES[int(found.scores.argmax())]


@pytest.mark.parametrize("tf32", [False, True])
def test_products_of_float32_are_those_of_the_test(predictor, monkeypatch, tf32):
    asked = []
    monkeypatch.setattr(engine_predictor, "set_float32_products", lambda device, *, tf32: asked.append((device, tf32)))
    monkeypatch.setattr(predictor, "cfg", with_values(predictor.cfg, {"MODEL.TF32": tf32}, "the test"))
    predictor.score_clips(torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8))
    assert asked == [(torch.device("cpu"), tf32)]


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, list])
def test_frames_in_memory_are_as_good_as_their_file(toy_set, predictor, kind):
    path = test_videos(toy_set)[0]
    with open_video(path) as reader:
        frames = reader.frames_at(range(reader.num_frames)).numpy()
    found = predictor.predict(kind(frames), fps=25)
    assert torch.equal(found.scores, predictor.predict(path).scores)
    assert found.path == "the frames"


def test_other_views(network, toy_set):
    predictor = Predictor.from_checkpoint(network, device="cpu", clips=1, crops=1, batch=1, workers=0)
    assert len(predictor.clips) == 1
    assert predictor.cfg.TEST.BATCH_SIZE == 1
    assert predictor.cfg.DATA_LOADER.NUM_WORKERS == 0
    path = test_videos(toy_set)[1]
    with open_video(path) as reader:
        frames = reader.frames_at(range(reader.num_frames))
    logits, _ = one_by_one(predictor, frames, 1, 1)
    torch.testing.assert_close(predictor.predict(path).scores, logits.softmax(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("workers", [0, 2])
def test_many_keeps_the_order_and_goes_past_broken_videos(network, toy_set, tmp_path, broken_video, workers):
    predictor = Predictor.from_checkpoint(network, device="cpu", workers=workers)
    good = test_videos(toy_set)
    missing = str(tmp_path / "nowhere.mp4")
    paths = [broken_video, good[0], good[1], missing, good[2], good[0]]
    found = list(predictor.predict_many(paths))
    assert [getattr(one, "path", None) for one in found] == paths
    assert [isinstance(one, DecodeError) for one in found] == [True, False, False, True, False, False]
    assert found[3].cause == "No such file or directory"
    assert torch.equal(found[1].scores, found[5].scores)
    assert list(predictor.predict_many([])) == []


def test_a_broken_video_is_raised_by_predict(predictor, toy_set, tmp_path, broken_video):
    with pytest.raises(DecodeError):
        predictor.predict(broken_video)
    cut = write_truncated(tmp_path / "cut.mp4", test_videos(toy_set)[0])
    with pytest.raises(DecodeError, match="cut.mp4"):
        predictor.predict(cut)


def test_frames_of_another_kind_are_refused(predictor):
    with pytest.raises(UserError, match="uint8"):
        predictor.predict(np.zeros((4, 32, 32, 3), np.float32))
    with pytest.raises(UserError, match=r"frames\[None\]"):
        predictor.predict(np.zeros((32, 32, 3), np.uint8))


def test_several_labels(toy_set, tmp_path):
    overrides = ("DATA.MULTI_LABEL", "True", "MODEL.LOSS_FUNC", "bce_logit")
    predictor = Predictor.from_checkpoint(write_network(toy_set, tmp_path / "n.pyth", *overrides), device="cpu")
    path = test_videos(toy_set)[0]
    with open_video(path) as reader:
        frames = reader.frames_at(range(reader.num_frames))
    logits, _ = one_by_one(predictor, frames, 2, 3)
    found = predictor.predict(path)
    torch.testing.assert_close(found.scores, logits.sigmoid(), rtol=1e-5, atol=1e-6)
    assert found.multi_label
    assert set(found.labels) == {name for name, score in zip(CLASSES, logits.sigmoid(), strict=True) if score >= 0.5}
    with pytest.raises(ConfigError, match=r"TEST.ENSEMBLE_SCORE is softmax"):
        network = write_network(toy_set, tmp_path / "m.pyth", *overrides, "TEST.ENSEMBLE_SCORE", "softmax")
        Predictor.from_checkpoint(network, device="cpu")


def test_one_softmax_for_each_view(toy_set, tmp_path):
    network = write_network(toy_set, tmp_path / "n.pyth", "TEST.ENSEMBLE_SCORE", "softmax")
    found = Predictor.from_checkpoint(network, device="cpu", clips=1, crops=1).predict(test_videos(toy_set)[0])
    plain = Predictor.from_checkpoint(write_network(toy_set, tmp_path / "m.pyth"), device="cpu", clips=1, crops=1)
    torch.testing.assert_close(found.scores, plain.predict(test_videos(toy_set)[0]).scores)


def test_a_rate_in_time(toy_set, tmp_path):
    network = write_network(toy_set, tmp_path / "n.pyth", "DATA.TARGET_FPS", "5")
    predictor = Predictor.from_checkpoint(network, device="cpu")
    frames = moving_square(30)
    path = write_video(tmp_path / "a.mp4", frames, fps=10)
    with open_video(str(path)) as reader:
        decoded = reader.frames_at(range(30))
    logits, _ = one_by_one(predictor, decoded[::2], 2, 3)
    torch.testing.assert_close(predictor.predict(path).scores, logits.softmax(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(predictor.predict(decoded, fps=10).scores, predictor.predict(path).scores)
    with pytest.raises(UserError, match="say the frames' rate: fps"):
        predictor.predict(decoded)


def test_a_folder_of_frames(predictor, tmp_path):
    from PIL import Image

    frames = moving_square(9)
    for number, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(tmp_path / f"img_{number:05d}.png")
    assert torch.equal(predictor.predict(tmp_path).scores, predictor.predict(frames).scores)


def test_a_network_that_does_not_tell_its_features(network, toy_set, predictor):
    class Plain(torch.nn.Module):
        def forward(self, clips):
            return clips.mean((2, 3, 4))

    plain = Predictor(predictor.cfg, Plain(), class_names=CLASSES)
    assert plain.predict(test_videos(toy_set)[0]).features is None
    with pytest.raises(UserError, match="has no forward_pooled"):
        plain.features(test_videos(toy_set)[0])


def test_without_names(toy_set, tmp_path):
    bare = rewrite(toy_set, tmp_path / "bare")
    (bare / "classes.json").unlink()
    found = Predictor.from_checkpoint(write_network(bare, tmp_path / "n.pyth", names=None), device="cpu").predict(
        test_videos(toy_set)[0]
    )
    assert found.class_names is None
    assert sorted(best.name for best in found.top(5)) == ["class 0", "class 1", "class 2"]


def test_half_precision_on_a_cpu_is_computed_in_float32(toy_set, tmp_path, log, predictor):
    network = write_network(toy_set, tmp_path / "n.pyth", "TEST.MIXED_PRECISION", "fp16", "NUM_GPUS", "1")
    found = Predictor.from_checkpoint(network, device="cpu")
    assert found.precision.name == "float32"
    assert [line for line in log if "fp16" in line] == [
        "WARNING: the test's precision, fp16, needs a GPU; scores are computed in float32"
    ]
    path = test_videos(toy_set)[0]
    assert torch.equal(found.predict(path).scores, predictor.predict(path).scores)


@pytest.mark.parametrize("threshold", [-0.1, 3, float("nan")])
def test_a_threshold_that_is_no_score(network, threshold):
    with pytest.raises(UserError, match="it is a score from 0 to 1"):
        Predictor.from_checkpoint(network, device="cpu", threshold=threshold)


def test_devices(monkeypatch):
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("gpu", "cuda:x", ""):
        with pytest.raises(UserError, match="allowed: auto, cpu, cuda, cuda:1"):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")
    with pytest.raises(UserError, match="'cuda:1' is not here: this machine has 0 GPUs; use cpu or auto"):
        choose_device("cuda:1")


@pytest.mark.parametrize("name", ["Uniformer", "Uniformer_light"])
def test_both_networks_tell_their_features(toy_set, tmp_path, name):
    predictor = Predictor.from_checkpoint(
        write_network(toy_set, tmp_path / "n.pyth", "MODEL.MODEL_NAME", name), device="cpu"
    )
    clips = torch.arange(3 * 4 * 32 * 32, dtype=torch.int64).remainder(251).to(torch.uint8).view(1, 3, 4, 32, 32)
    logits, features = predictor.score_clips(clips)
    inputs = predictor.inputs.normalized(clips, predictor.device)
    with torch.no_grad():
        assert torch.equal(logits, predictor.model(inputs))
        last = predictor.model.forward_features(inputs)[-1]
    torch.testing.assert_close(features, last.mean((2, 3, 4)))
    assert MODELS.get(name)(load_config()).forward_pooled  # registered networks have it


def test_the_package_offers_it():
    assert uniformer_video.Predictor is Predictor
    assert "Predictor" in dir(uniformer_video)
    with pytest.raises(AttributeError, match="has no attribute 'Predictr'"):
        _ = uniformer_video.Predictr
