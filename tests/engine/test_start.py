"""Which weights a run starts from and tests: where they are found, and whose class each output is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.toy import CLASSES, same_bits, toy_cfg
from uniformer_video.config import dump
from uniformer_video.datasets import VideoRecord
from uniformer_video.datasets.class_names import infer_class_names
from uniformer_video.datasets.label_sets import label_set
from uniformer_video.engine.checkpoint import best_path, checkpoint_path
from uniformer_video.engine.setup import new_model
from uniformer_video.engine.start import load_start_weights, load_test_weights, try_start_weights
from uniformer_video.models.zoo import ZOO, Resolved
from uniformer_video.runtime.download import sha256_of
from uniformer_video.runtime.errors import UserError, WeightError

CPU = torch.device("cpu")


@pytest.fixture
def cfg(toy_set, tmp_path):
    """Return a function from overrides to the toy configuration."""
    return lambda *overrides: toy_cfg(toy_set, tmp_path / "out", *map(str, overrides))


def save(path, model, value):
    """Save weights that are all ``value``; return the path as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: torch.full_like(v, value) for name, v in model.state_dict().items()}, path)
    return str(path)


def test_random_start_weights_are_said(cfg, log):
    model = new_model(cfg(), CPU)
    before = {name: v.clone() for name, v in model.state_dict().items()}
    load_start_weights(cfg(), model)
    assert log[-1] == (
        "WARNING: training starts from random weights (UNIFORMER.PRETRAIN_NAME and TRAIN.CHECKPOINT_FILE_PATH are not "
        "set)"
    )
    assert same_bits(model.state_dict(), before)


def test_start_weights_may_have_another_head(cfg, tmp_path, log):
    path = save(tmp_path / "w.pyth", new_model(cfg(), CPU), 0.25)
    model = new_model(cfg("MODEL.NUM_CLASSES", 5), CPU)
    head = model.head.weight.detach().clone()
    load_start_weights(cfg("MODEL.NUM_CLASSES", 5, "TRAIN.CHECKPOINT_FILE_PATH", path), model)
    assert torch.equal(model.head.weight, head)
    assert all((p == 0.25).all() for name, p in model.named_parameters() if not name.startswith("head"))
    assert log[-1].startswith(f"INFO: start weights: {path}: ")
    assert "head left out, it starts anew (head.weight, head.bias)" in log[-1]


def test_start_weights_are_inflated_as_the_key_says(cfg, tmp_path):
    model = new_model(cfg(), CPU)
    state = {
        name: v[:, :, 0] + 1 if v.ndim == 5 and v.shape[3:] != (1, 1) else v for name, v in model.state_dict().items()
    }
    path = tmp_path / "image.pyth"
    torch.save(state, path)
    with pytest.raises(WeightError, match="TRAIN.CHECKPOINT_INFLATE"):
        load_start_weights(cfg("TRAIN.CHECKPOINT_FILE_PATH", path), model)
    load_start_weights(cfg("TRAIN.CHECKPOINT_FILE_PATH", path, "TRAIN.CHECKPOINT_INFLATE", "center"), model)
    kernel = model.patch_embed1.proj.weight
    assert torch.equal(kernel[:, :, 1], state["patch_embed1.proj.weight"])
    assert not kernel[:, :, [0, 2]].any()


def test_where_test_weights_come_from(cfg, tmp_path, log):
    model = new_model(cfg(), CPU)

    def value(*overrides):
        path = load_test_weights(cfg(*overrides), model)
        return path, model.head.bias[0].item()

    torch.nn.init.constant_(model.head.bias, 0.5)
    assert value() == ("", 0.5)
    assert log[-1] == "WARNING: testing random weights: no TEST.CHECKPOINT_FILE_PATH and no checkpoint in OUTPUT_DIR"
    start = save(tmp_path / "start.pyth", model, 1)
    assert value("TRAIN.CHECKPOINT_FILE_PATH", start) == (start, 1)
    save(checkpoint_path(tmp_path / "out", 1), model, 2)
    newest = save(checkpoint_path(tmp_path / "out", 12), model, 3)
    assert value("TRAIN.CHECKPOINT_FILE_PATH", start) == (newest, 3)
    assert value() == (newest, 3)
    given = save(tmp_path / "given.pyth", model, 4)
    assert value("TEST.CHECKPOINT_FILE_PATH", given, "TRAIN.CHECKPOINT_FILE_PATH", start) == (given, 4)
    assert log[-1].startswith(f"INFO: test weights: {given}: ")


def test_test_weights_with_another_head_are_refused(cfg, tmp_path):
    path = save(tmp_path / "w.pyth", new_model(cfg("MODEL.NUM_CLASSES", 5), CPU), 1)
    with pytest.raises(WeightError, match=r"the head has 5 classes in the file and 3 in MODEL.NUM_CLASSES"):
        load_test_weights(cfg("TEST.CHECKPOINT_FILE_PATH", path), new_model(cfg(), CPU))


# ---------------------------------------------------------------------------------------------------------- by name


def test_pretraining_by_name(cfg, tmp_path, monkeypatch, log):
    weights = tmp_path / "weights"
    path = save(weights / "uniformer_small_in1k.pth", new_model(cfg("MODEL.NUM_CLASSES", 5), CPU), 0.25)
    settings = ("UNIFORMER.PRETRAIN_NAME", "uniformer_small_in1k")
    model = new_model(cfg(), CPU)
    with pytest.raises(UserError, match="uniformer_small_in1k"):  # not the published file: another size
        load_start_weights(cfg(*settings, "UNIFORMER.WEIGHTS_DIR", weights), model)
    model = new_model(cfg(), CPU)
    load_start_weights(cfg("UNIFORMER.PRETRAIN_NAME", path), model)
    assert (model.patch_embed1.proj.weight == 0.25).all()
    assert log[-1].startswith(f"INFO: start weights: {path}: ")


def test_a_file_is_preferred_to_a_name(cfg, tmp_path, log):
    path = save(tmp_path / "w.pyth", new_model(cfg(), CPU), 0.5)
    model = new_model(cfg(), CPU)
    load_start_weights(
        cfg("UNIFORMER.PRETRAIN_NAME", "uniformer_small_in1k", "TRAIN.CHECKPOINT_FILE_PATH", path), model
    )
    assert (model.patch_embed1.proj.weight == 0.5).all()
    assert "INFO: UNIFORMER.PRETRAIN_NAME uniformer_small_in1k is not used: TRAIN.CHECKPOINT_FILE_PATH is set" in log


def test_2d_weights_of_pretraining_are_inflated_without_being_asked(cfg, tmp_path, log):
    model = new_model(cfg(), CPU)
    state = {name: v.clone() for name, v in model.state_dict().items()}
    state = {name: v[:, :, 0] if v.ndim == 5 and v.shape[3:] != (1, 1) else v for name, v in state.items()}
    torch.save(state, tmp_path / "image.pth")
    load_start_weights(cfg("UNIFORMER.PRETRAIN_NAME", tmp_path / "image.pth"), model)
    kernel = model.patch_embed1.proj.weight
    torch.testing.assert_close(kernel, state["patch_embed1.proj.weight"].unsqueeze(2).expand_as(kernel) / 3)
    assert "inflated (average)" in log[-1]


def test_pretraining_that_cannot_be_had_says_how_to_do_without(cfg, monkeypatch, tmp_path):
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UNIFORMER_WEIGHTS", raising=False)
    monkeypatch.delenv("UNIFORMER_ZOO_MIRROR", raising=False)
    width = ("UNIFORMER.HEAD_DIM", 32)
    with pytest.raises(WeightError) as error:
        load_start_weights(cfg(*width, "UNIFORMER.PRETRAIN_NAME", "uniformer_xs_192_in1k"), new_model(cfg(), CPU))
    path = tmp_path / "cache" / "uniformer_xs_192_in1k.pth"
    assert str(error.value) == (
        f"the published weights uniformer_xs_192_in1k have no known address on the web; put the file at {path} or set "
        "UNIFORMER_WEIGHTS to the folder that holds it; UNIFORMER.PRETRAIN_NAME '' starts from random weights"
    )
    with pytest.raises(WeightError) as error:
        load_test_weights(cfg(*width, "TEST.CHECKPOINT_FILE_PATH", "uniformer_xs_192_in1k"), new_model(cfg(), CPU))
    assert str(error.value).endswith("to the folder that holds it")


@pytest.mark.parametrize("given", ["name", "path"])
def test_an_alphabetical_kinetics_list_is_recognised_and_remapped_with_one_line(cfg, tmp_path, monkeypatch, log, given):
    published = label_set("kinetics400")
    names = sorted(published)
    settings = ("MODEL.NUM_CLASSES", 400, "UNIFORMER.EMBED_DIM", [16, 16, 64, 64], "UNIFORMER.HEAD_DIM", 64)
    trained = new_model(cfg(*settings), CPU).eval()
    path = tmp_path / "uniformer_small_k400_16x8.pth"
    torch.save(trained.state_dict(), path)
    entry = replace(ZOO[path.stem], sha256=sha256_of(path), bytes=path.stat().st_size)
    monkeypatch.setitem(ZOO, path.stem, entry)
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UNIFORMER_WEIGHTS", str(tmp_path))

    # The folders of a list in which labels count the classes in the order of the alphabet.
    records = [VideoRecord(f"train/{name.replace(' ', '_')}/x.mp4", label) for label, name in enumerate(names)]
    data_names = infer_class_names(records, 400)
    model = new_model(cfg(*settings, "RNG_SEED", 99), CPU).eval()
    weights = path.stem if given == "name" else path
    load_test_weights(cfg(*settings, "TEST.CHECKPOINT_FILE_PATH", weights), model, data_names)
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        before, after = trained(clip)[0], model(clip)[0]
    for label, name in enumerate(names):
        assert after[label].item() == pytest.approx(before[published.index(name)].item(), rel=1e-5, abs=1e-7)
    lines = [line for line in log if "class order" in line]
    assert lines == [
        "INFO: class order: the weights have Kinetics-400 in the published order, the data in alphabetical order: head "
        "remapped by name (400 classes)"
    ]


def test_published_weights_for_heads_of_another_width_are_refused(cfg, tmp_path):
    # Names and shapes are the same: nothing but the name tells 32 from 64.
    path = tmp_path / "uniformer_small_plus_in1k.pth"
    torch.save(new_model(cfg(), CPU).state_dict(), path)
    settings = ("UNIFORMER.PRETRAIN_NAME", "uniformer_small_plus_in1k", "UNIFORMER.WEIGHTS_DIR", tmp_path)
    with pytest.raises(WeightError) as error:
        load_start_weights(cfg(*settings), new_model(cfg(), CPU))
    assert str(error.value) == (
        "the published uniformer_small_plus_in1k have attention heads of 32 channels, but UNIFORMER.HEAD_DIM is 16; "
        "set UNIFORMER.HEAD_DIM 32"
    )
    # And no download is begun for them.
    with pytest.raises(WeightError, match="attention heads of 64 channels"):
        load_start_weights(cfg("UNIFORMER.PRETRAIN_NAME", "uniformer_small_in1k"), new_model(cfg(), CPU))


# ------------------------------------------------------------------------------------------------------ class order


def save_named(path, model, names):
    torch.save({"model_state": model.state_dict(), "class_names": list(names)}, path)
    return str(path)


@pytest.mark.parametrize("light", [False, True])
def test_classes_in_another_order_are_matched_by_name(cfg, tmp_path, log, light):
    network = ("MODEL.MODEL_NAME", "Uniformer_light") if light else ()
    trained = new_model(cfg(*network), CPU).eval()
    path = save_named(tmp_path / "w.pyth", trained, ("blue", "red", "green"))
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        blue, red, green = trained(clip)[0].tolist()
        for settings, load in (
            (("TEST.CHECKPOINT_FILE_PATH", path), load_test_weights),
            (("TRAIN.CHECKPOINT_FILE_PATH", path), load_start_weights),
        ):
            model = new_model(cfg(*network, "RNG_SEED", 99), CPU).eval()
            load(cfg(*network, *settings), model, CLASSES)
            assert model(clip)[0].tolist() == pytest.approx([red, green, blue], rel=1e-6)
            assert log[-2] == (
                "INFO: class order: the weights and the data have the same classes in different orders: head remapped "
                "by name (3 classes)"
            )


def test_other_classes_are_refused_in_a_test_and_begin_a_new_head_in_training(cfg, tmp_path, log):
    trained = new_model(cfg(), CPU)
    path = save_named(tmp_path / "w.pyth", trained, ("red", "green", "violet"))
    with pytest.raises(WeightError) as error:
        load_test_weights(cfg("TEST.CHECKPOINT_FILE_PATH", path), new_model(cfg(), CPU), CLASSES)
    assert str(error.value).startswith("class 2 of the data, 'blue', is not among the 3 classes of weight file")
    model = new_model(cfg("RNG_SEED", 99), CPU)
    head = model.head.weight.detach().clone()
    load_start_weights(cfg("TRAIN.CHECKPOINT_FILE_PATH", path), model, CLASSES)
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.norm.weight, trained.norm.weight)
    assert log[-2] == (
        "INFO: class order: the head starts anew, 2 of the data's 3 classes are among the weights' 3; the first that "
        "is not is class 2, 'blue' (it is 'violet' in the weights)"
    )
    assert "head left out, it starts anew (head.weight, head.bias)" in log[-1]


def test_weights_without_class_names_are_taken_in_the_order_of_the_labels_which_is_said(cfg, tmp_path, log):
    path = save(tmp_path / "w.pyth", new_model(cfg(), CPU), 0.5)
    load_test_weights(cfg("TEST.CHECKPOINT_FILE_PATH", path), new_model(cfg(), CPU), CLASSES)
    assert log[-2].startswith("INFO: class order: not checked, there are no class names with weight file")


# ------------------------------------------------------------------------------------------------ own checkpoints


def test_the_best_checkpoint_is_tested_where_asked(cfg, tmp_path):
    model = new_model(cfg(), CPU)
    newest = save(checkpoint_path(tmp_path / "out", 12), model, 3)
    assert load_test_weights(cfg("TEST.TEST_BEST", True), model) == newest
    best = save(best_path(tmp_path / "out"), model, 4)
    assert load_test_weights(cfg("TEST.TEST_BEST", True), model) == best
    assert load_test_weights(cfg(), model) == newest


def test_a_damaged_newest_checkpoint_is_not_tested_but_the_one_before(cfg, tmp_path, log):
    model = new_model(cfg(), CPU)
    before = save(checkpoint_path(tmp_path / "out", 1), model, 3)
    newest = checkpoint_path(tmp_path / "out", 2)
    newest.write_bytes(b"")
    assert load_test_weights(cfg(), model) == before
    assert (model.norm.weight == 3).all()
    assert log[1] == f"WARNING: checkpoint {newest} is damaged (it is empty); going on from {Path(before).name}"


def test_a_checkpoint_of_the_run_is_read_once(cfg, tmp_path, monkeypatch):
    model = new_model(cfg(), CPU)
    save(checkpoint_path(tmp_path / "out", 1), model, 3)
    reads, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: reads.append(1) or load(*args, **kwargs))
    load_test_weights(cfg(), model)
    assert len(reads) == 1


def test_a_run_without_class_names_is_not_told_so_of_its_own_checkpoint(cfg, tmp_path, log):
    model = new_model(cfg(), CPU)
    newest = save(checkpoint_path(tmp_path / "out", 1), model, 3)
    load_test_weights(cfg(), model)
    assert not any("class order" in line for line in log)
    load_test_weights(cfg("TEST.CHECKPOINT_FILE_PATH", newest), model)
    assert any("class order: not checked" in line for line in log)


# --------------------------------------------------------------------------------------- what no tensor shows, folders


def save_whole(path, cfg, **more):
    """Save a network as a checkpoint of this toolkit does, with its configuration."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model_state": new_model(cfg, CPU).state_dict(), "cfg": dump(cfg), **more}, path)
    return str(path)


def test_another_width_of_attention_heads_is_refused(cfg, tmp_path):
    path = save_whole(tmp_path / "w.pyth", cfg())
    for load, key in ((load_test_weights, "TEST"), (load_start_weights, "TRAIN")):
        other = cfg("UNIFORMER.HEAD_DIM", 8, f"{key}.CHECKPOINT_FILE_PATH", path)
        with pytest.raises(WeightError) as error:
            load(other, new_model(other, CPU))
        assert str(error.value) == (
            f"weight file {path!r} was trained with other attention heads (UNIFORMER.HEAD_DIM: 16 -> 8), which no "
            "tensor shows; set UNIFORMER.HEAD_DIM to the first of the two"
        )


def test_other_settings_that_no_tensor_shows_are_said(cfg, tmp_path, log):
    light = ("MODEL.MODEL_NAME", "Uniformer_light")
    path = save_whole(tmp_path / "w.pyth", cfg(*light))
    ratios = "[[], [], [1], [0.25]]"
    other = cfg(*light, "TEST.CHECKPOINT_FILE_PATH", path, "UNIFORMER.PRUNE_RATIO", ratios, "UNIFORMER.QKV_SCALE", 1)
    load_test_weights(other, new_model(other, CPU))
    assert (
        "WARNING: the weights were trained with other settings that no tensor shows: UNIFORMER.QKV_SCALE: 0.25 -> 1.0; "
        "UNIFORMER.PRUNE_RATIO: [[], [], [1.0], [0.5]] -> [[], [], [1.0], [0.25]]"
    ) in log


@pytest.mark.parametrize(
    "same",
    [
        ("TEST.NUM_ENSEMBLE_VIEWS", 7),
        # Defaults written out.
        ("UNIFORMER.QKV_SCALE", 0.25),
        ("MODEL.MODEL_NAME", "Uniformer_light", "UNIFORMER.PRUNE_RATIO", "[[], [], [1], [0.5]]"),
    ],
)
def test_settings_that_mean_the_same_are_not_warned_about(cfg, tmp_path, log, same):
    path = save_whole(tmp_path / "w.pyth", cfg(*same[:2]) if same[0].startswith("MODEL") else cfg())
    other = cfg(*same, "TEST.CHECKPOINT_FILE_PATH", path)
    load_test_weights(other, new_model(other, CPU))
    assert not any("WARNING" in line for line in log)


@pytest.mark.parametrize("text", ["date: 2024-13-45", "[" * 3000, "UNIFORMER: 3", "UNIFORMER: {HEAD_DIM: x}", "- a"])
def test_a_configuration_of_something_else_is_passed_over(cfg, tmp_path, text):
    path = tmp_path / "w.pyth"
    torch.save({"model_state": new_model(cfg(), CPU).state_dict(), "cfg": text, "class_folders": {0: ["x"]}}, path)
    assert load_test_weights(cfg("TEST.CHECKPOINT_FILE_PATH", path), new_model(cfg(), CPU)) == str(path)


@pytest.mark.parametrize("data", [(None, {0: "leap", 1: "hop", 2: "skip"}), (["leap", "hop", "skip"], None)])
def test_class_folders_stand_in_for_names(cfg, tmp_path, log, data):
    trained = new_model(cfg(), CPU).eval()
    path = tmp_path / "w.pyth"
    folders = {0: "hop", 1: "skip", 2: "leap"}
    torch.save({"model_state": trained.state_dict(), "class_folders": folders}, path)
    clip = torch.randn(1, 3, 4, 32, 32)
    for load, key in ((load_test_weights, "TEST"), (load_start_weights, "TRAIN")):
        model = new_model(cfg("RNG_SEED", 99), CPU).eval()
        load(cfg(f"{key}.CHECKPOINT_FILE_PATH", path), model, *data)
        with torch.no_grad():
            hop, skip, leap = trained(clip)[0].tolist()
            assert model(clip)[0].tolist() == pytest.approx([leap, hop, skip], rel=1e-6)
        assert log[-2].endswith("head remapped by name (3 classes)")


def test_other_class_folders_begin_a_new_head_or_say_nothing(cfg, tmp_path):
    path = save_whole(tmp_path / "w.pyth", cfg(), class_folders={0: "hop", 1: "skip", 2: "leap"})
    two = cfg("MODEL.NUM_CLASSES", 2, "TRAIN.CHECKPOINT_FILE_PATH", path)
    load_start_weights(two, new_model(two, CPU), None, {0: "leap", 1: "hop"})
    test = cfg("TEST.CHECKPOINT_FILE_PATH", path)
    load_test_weights(test, new_model(test, CPU), None, {0: "test_hop", 1: "test_skip", 2: "test_leap"})
    with pytest.raises(UserError, match="folders 'leap' have label 0 in test.csv and label 2 in the training of"):
        load_test_weights(test, new_model(test, CPU), None, {0: "leap", 1: "hop"})


# ------------------------------------------------------------------------------------------------------------- a trial


class TestTrial:
    """``try_start_weights`` says of a file what training would do with it."""

    def flat(self, path, cfg) -> str:
        """Save 2D weights, as an image network has them."""
        state = new_model(cfg, CPU).state_dict()
        torch.save({n: v[:, :, 0] if v.ndim == 5 and v.shape[3:] != (1, 1) else v for n, v in state.items()}, path)
        return str(path)

    def test_2d_weights_are_inflated_as_in_the_place_they_would_take(self, cfg, tmp_path):
        found = Resolved(self.flat(tmp_path / "image.pth", cfg()), None)
        assert try_start_weights(cfg(), new_model(cfg(), CPU), found).inflation == "average"
        center = cfg("TRAIN.CHECKPOINT_INFLATE", "center")
        assert try_start_weights(center, new_model(center, CPU), found).inflation == "center"
        other = cfg("TRAIN.CHECKPOINT_FILE_PATH", "another.pth")
        with pytest.raises(WeightError, match="TRAIN.CHECKPOINT_INFLATE"):
            try_start_weights(other, new_model(other, CPU), found)

    def test_published_weights_for_heads_of_another_width_are_refused(self, cfg, tmp_path):
        path = save(tmp_path / "w.pth", new_model(cfg(), CPU), 1)
        with pytest.raises(WeightError, match="attention heads of 64 channels, but UNIFORMER.HEAD_DIM is 16"):
            try_start_weights(cfg(), new_model(cfg(), CPU), Resolved(path, ZOO["uniformer_small_in1k"]))

    def test_settings_in_the_file_are_compared(self, cfg, tmp_path):
        other = cfg("UNIFORMER.HEAD_DIM", 8)
        found = Resolved(save_whole(tmp_path / "w.pyth", cfg()), None)
        with pytest.raises(WeightError, match=r"UNIFORMER.HEAD_DIM: 16 -> 8"):
            try_start_weights(other, new_model(other, CPU), found)

    def test_classes_are_compared_where_they_are_told(self, cfg, tmp_path, log):
        found = Resolved(save_named(tmp_path / "w.pyth", new_model(cfg(), CPU), ("blue", "red", "violet")), None)
        report = try_start_weights(cfg(), new_model(cfg(), CPU), found)  # the toy set has classes.json
        assert report.left_out_head == ["head.weight", "head.bias"]
        assert "the head starts anew, 2 of the data's 3 classes are among the weights' 3" in log[-1]
        nowhere = cfg("DATA.PATH_TO_DATA_DIR", tmp_path)
        model = new_model(nowhere, CPU)
        log.clear()
        assert try_start_weights(nowhere, model, found).left_out_head == []
        assert log == []

    def test_names_that_are_not_those_of_the_head(self, cfg, tmp_path):
        found = Resolved(save_named(tmp_path / "w.pyth", new_model(cfg(), CPU), ("blue", "red")), None)
        with pytest.raises(WeightError, match="2 class names for a head of 3 classes"):
            try_start_weights(cfg(), new_model(cfg(), CPU), found)
