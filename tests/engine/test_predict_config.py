"""What a user names to predict with."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.engine.predicting import write_network
from tests.test_package import ROOT
from tests.toy import CLASSES, toy_cfg
from uniformer_video.config import changes, dump, load_config
from uniformer_video.engine.checkpoint import Checkpoint, best_path, checkpoint_path, save_checkpoint
from uniformer_video.engine.predict_config import config_from_text, config_of_entry, find_network
from uniformer_video.models.build import build_model
from uniformer_video.models.published import build_published
from uniformer_video.models.zoo import ZOO
from uniformer_video.runtime.errors import ConfigError, UserError, WeightError

VIDEO_ENTRIES = [entry for entry in ZOO.values() if entry.sampling != "image"]
RECIPES = {
    "uniformer_small_k400_16x4": "Kinetics/uniformer_s16x4",
    "uniformer_small_k400_16x8": "Kinetics/uniformer_s16x8",
    "uniformer_base_k400_16x4": "Kinetics/uniformer_b16x4",
    "uniformer_base_k400_32x4": "Kinetics/uniformer_b32x4",
    "uniformer_xxs16_160_k400": "Kinetics/uniformer_xxs16_160",
    "uniformer_small_k600_16x4": "Kinetics/uniformer_s16x4_k600",
    "uniformer_small_k600_16x8": "Kinetics/uniformer_s16x8_k600",
    "uniformer_base_k600_16x4": "Kinetics/uniformer_b16x4_k600",
    "uniformer_base_k600_32x4": "Kinetics/uniformer_b32x4_k600",
    "uniformer_small_sthv1_16_prek600": "SSv1/uniformer_s16_prek600",
    "uniformer_base_sthv1_32_prek600": "SSv1/uniformer_b32_prek600",
    "uniformer_small_sthv2_16_prek600": "SSv2/uniformer_s16_prek600",
    "uniformer_base_sthv2_32_prek600": "SSv2/uniformer_b32_prek600",
}


@pytest.fixture
def run(toy_set, tmp_path):
    """Return a run's folder with two checkpoints and a best one."""
    cfg = toy_cfg(toy_set, tmp_path / "run")
    state = build_model(cfg).state_dict()
    for epoch in (2, 11):
        checkpoint = Checkpoint(epoch, state, {}, dump(cfg), class_names=list(CLASSES))
        save_checkpoint(checkpoint, checkpoint_path(tmp_path / "run", epoch))
    shutil.copy(checkpoint_path(tmp_path / "run", 2), best_path(tmp_path / "run"))
    return tmp_path / "run"


class TestRun:
    def test_the_best_checkpoint_first(self, run):
        found = find_network(run)
        assert found.path == str(best_path(run))
        assert found.said == f"{best_path(run)} (best validation, after epoch 2)"
        assert found.class_names == CLASSES
        assert found.cfg.DATA.NUM_FRAMES == 4
        assert found.cfg.MODEL.NUM_CLASSES == 3
        assert found.state["head.weight"].shape == (3, 32)

    def test_else_the_newest(self, run):
        best_path(run).unlink()
        assert find_network(str(run)).said == f"{checkpoint_path(run, 11)} (newest checkpoint, after epoch 11)"

    def test_a_checkpoint_of_it(self, run):
        path = checkpoint_path(run, 2)
        assert find_network(path).said == f"{path} (after epoch 2)"

    def test_a_folder_that_is_none(self, tmp_path):
        with pytest.raises(UserError, match=r"is no run with a checkpoint: it has no checkpoints/\*\.pyth; give"):
            find_network(tmp_path)


class TestFile:
    @pytest.mark.parametrize("ending", [".pyth", ".safetensors"])
    def test_exported_weights_carry_all(self, toy_set, tmp_path, ending):
        if ending == ".safetensors":
            pytest.importorskip("safetensors")
        overrides = ("TEST.NUM_SPATIAL_CROPS", "5", "DATA.DECODING_BACKEND", "torchcodec")
        path = write_network(toy_set, tmp_path / f"net{ending}", *overrides)
        found = find_network(path)
        assert (found.path, found.said) == (str(path), str(path))
        assert found.class_names == CLASSES
        assert found.cfg.TEST.NUM_SPATIAL_CROPS == 5
        assert found.cfg.DATA.DECODING_BACKEND == "auto"  # which may not be installed here

    def bare(self, toy_set, tmp_path):
        state = build_model(toy_cfg(toy_set, tmp_path / "out")).state_dict()
        torch.save(state, tmp_path / "bare.pth")
        return tmp_path / "bare.pth"

    def test_a_bare_file_needs_a_recipe(self, toy_set, tmp_path):
        path = self.bare(toy_set, tmp_path)
        with pytest.raises(WeightError, match="carries no configuration of this toolkit; give its recipe with --cfg"):
            find_network(path)
        found = find_network(path, toy_set / "toy.yaml")
        assert found.cfg.DATA.SAMPLING_RATE == 2
        assert found.class_names is None
        assert found.said == f"{path} (configuration {toy_set / 'toy.yaml'})"

    def test_a_recipe_with_open_settings(self, toy_set, tmp_path):
        recipe = tmp_path / "open.yaml"
        recipe.write_text(
            f"_BASE_: {toy_set / 'toy.yaml'}\nMODEL: {{NUM_CLASSES: auto, LOSS_FUNC: auto}}\n"
            "DATA: {MULTI_LABEL: auto}\n"
        )
        text = recipe.read_text()
        found = find_network(self.bare(toy_set, tmp_path), recipe)
        assert (found.cfg.MODEL.NUM_CLASSES, found.cfg.MODEL.LOSS_FUNC) == (3, "soft_cross_entropy")
        assert found.cfg.DATA.MULTI_LABEL is False
        recipe.write_text(text.replace("LOSS_FUNC: auto", "LOSS_FUNC: bce_logit"))
        assert find_network(self.bare(toy_set, tmp_path), recipe).cfg.DATA.MULTI_LABEL is True

    def test_a_recipe_in_place_of_its_own_configuration(self, toy_set, tmp_path, log):
        path = write_network(toy_set, tmp_path / "net.pyth", "DATA.MEAN", "[0.5, 0.5, 0.5]")
        assert find_network(path, toy_set / "toy.yaml").cfg.DATA.MEAN == [0.45, 0.45, 0.45]
        assert [line for line in log if "DATA.MEAN: [0.5, 0.5, 0.5] -> [0.45, 0.45, 0.45]" in line]
        recipe = tmp_path / "other.yaml"
        recipe.write_text(f"_BASE_: {toy_set / 'toy.yaml'}\nUNIFORMER: {{HEAD_DIM: 8}}\n")
        with pytest.raises(WeightError, match="trained with other attention heads"):
            find_network(path, recipe)

    def test_names_of_a_label_set(self, toy_set, tmp_path):
        path = write_network(
            toy_set, tmp_path / "net.pyth", "MODEL.NUM_CLASSES", "101", "DATA.LABEL_SET", "ucf101", names=None
        )
        assert find_network(path).class_names[:2] == ("ApplyEyeMakeup", "ApplyLipstick")

    def test_names_of_another_number(self, toy_set, tmp_path):
        path = write_network(toy_set, tmp_path / "net.pyth")
        content = torch.load(path, weights_only=True)
        torch.save({**content, "class_names": ["one", "two"]}, path)
        with pytest.raises(WeightError, match="2 class names for a head of 3 classes"):
            find_network(path)

    def test_files_that_cannot_be_used(self, toy_set, tmp_path):
        with pytest.raises(WeightError, match="there is no weight file"):
            find_network(tmp_path / "nothing.pyth")
        (tmp_path / "text.pyth").write_text("no weights\n")
        with pytest.raises(WeightError):
            find_network(tmp_path / "text.pyth")
        cfg = toy_cfg(toy_set, tmp_path / "out")
        state = build_model(cfg).state_dict()
        headless = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
        torch.save({"model_state": headless, "cfg": dump(cfg)}, tmp_path / "headless.pyth")
        with pytest.raises(WeightError, match="has no head, so it scores no classes"):
            find_network(tmp_path / "headless.pyth")

    def test_an_image_network(self, toy_set, tmp_path):
        with pytest.raises(WeightError, match="is an image network, and this command is for videos"):
            find_network(write_network(toy_set, tmp_path / "net.pyth", "UNIFORMER.IMAGE", "True"))


class TestConfigurationInAFile:
    def test_round_trip(self, toy_set, tmp_path):
        cfg = toy_cfg(toy_set, tmp_path / "out")
        assert config_from_text(dump(cfg), "it") == cfg

    def test_keys_of_another_version_are_passed_over(self):
        cfg = config_from_text("DATA: {NUM_FRAMES: 5, NEW_KEY: 3}\nOTHER: {KEY: 1}\nTOP: 2\n", "it")
        assert cfg.DATA.NUM_FRAMES == 5
        assert [change.key for change in changes(cfg)] == ["DATA.NUM_FRAMES"]

    def test_values_that_are_not_allowed(self):
        with pytest.raises(ConfigError, match="the configuration in weight file 'a': DATA.NUM_FRAMES is 'x'; allowed"):
            config_from_text("DATA: {NUM_FRAMES: x}", "weight file 'a'")

    @pytest.mark.parametrize("text", ["", "just text", "[1, 2]", "{", "DATA: 3"])
    def test_no_configuration_gives_the_defaults(self, text):
        assert config_from_text(text, "it") == load_config()


class TestZoo:
    def test_every_video_entry_is_compared_with_its_recipe(self):
        assert {entry.name for entry in VIDEO_ENTRIES} == set(RECIPES)

    @pytest.mark.parametrize("entry", VIDEO_ENTRIES, ids=lambda entry: entry.name)
    def test_the_network_is_the_published_one(self, entry):
        with torch.device("meta"):
            own = build_model(config_of_entry(entry)).state_dict()
            published = build_published(entry.network, num_classes=entry.classes).state_dict()
        assert {name: tensor.shape for name, tensor in own.items()} == {
            name: tensor.shape for name, tensor in published.items()
        }

    @pytest.mark.parametrize("entry", VIDEO_ENTRIES, ids=lambda entry: entry.name)
    def test_clips_and_views_are_those_of_its_recipe(self, entry):
        own, recipe = config_of_entry(entry), load_config(ROOT / "configs" / f"{RECIPES[entry.name]}.yaml")
        for key in ("NUM_FRAMES", "TEST_CROP_SIZE", "MEAN", "STD", "USE_OFFSET_SAMPLING", "TARGET_FPS"):
            assert own.DATA[key] == recipe.DATA[key], key
        if entry.sampling == "dense":
            assert own.DATA.SAMPLING_RATE == recipe.DATA.SAMPLING_RATE
        for key in ("DATASET", "NUM_ENSEMBLE_VIEWS", "NUM_SPATIAL_CROPS", "ENSEMBLE_METHOD", "ENSEMBLE_SCORE"):
            assert own.TEST[key] == recipe.TEST[key], key
        for key in ("HEAD_DIM", "QKV_SCALE", "PRUNE_RATIO", "TRADE_OFF", "MLP_RATIO", "LOCAL_KERNEL", "DEPTH"):
            assert own.UNIFORMER[key] == recipe.UNIFORMER[key], key
        assert own.MODEL.NUM_CLASSES == recipe.MODEL.NUM_CLASSES
        assert own.TEST.BATCH_SIZE == recipe.TEST.BATCH_SIZE

    def test_image_networks_are_refused(self):
        with pytest.raises(WeightError, match="uniformer_small_in1k is an image network"):
            config_of_entry(ZOO["uniformer_small_in1k"])

    def test_a_name(self, tmp_path, monkeypatch):
        entry = ZOO["uniformer_xxs16_160_k400"]  # of which no hash is known
        torch.save({"model": build_published(entry.network).state_dict()}, tmp_path / entry.file_name)
        monkeypatch.setenv("UNIFORMER_WEIGHTS", str(tmp_path))
        found = find_network(entry.name)
        assert found.class_names[0] == "riding a bike"  # the published order
        assert len(found.class_names) == 400
        assert found.cfg.DATA.TEST_CROP_SIZE == 160
        assert found.said == f"{tmp_path / entry.file_name} (published {entry.name})"

    def test_a_name_that_is_none(self):
        with pytest.raises(WeightError, match="no published weights have that name; nearest: uniformer_small_k400"):
            find_network("uniformer_small_k400_16x9")
