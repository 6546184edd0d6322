"""What a file says of itself: the network, the classes, the wrappers, and what it holds besides."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from tests.models.published import saved, state_keys, tiny
from uniformer_video.engine.checkpoint import Checkpoint, save_checkpoint
from uniformer_video.models import inspect
from uniformer_video.models.export import write_weights
from uniformer_video.models.inspect import class_names_in, inspect_content, inspect_file, inspect_weights
from uniformer_video.runtime.errors import WeightError

STATES = state_keys()
PLUS = ("image_small_plus", "image_small_plus_dim64")


def state_of(name: str, **changes: tuple[int, ...] | None) -> dict[str, torch.Tensor]:
    """Return tensors with the published names and shapes and no numbers; ``changes`` by name, None to leave one out."""
    shapes = {**STATES[name]["state"], **{key.replace("__", "."): shape for key, shape in changes.items()}}
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items() if shape is not None}


class TestPublished:
    @pytest.mark.parametrize("name", STATES)
    def test_every_published_network_is_recognised(self, name):
        found = inspect_weights(state_of(name))
        assert found.networks == (PLUS if name in PLUS else (name,))
        assert found.network == " or ".join(found.networks)
        assert found.parameters == STATES[name]["params"]
        assert found.tensors == len(STATES[name]["state"])
        assert found.image == name.startswith("image")
        assert found.classes == (1000 if found.image else 400)
        assert found.kind == ("Hourglass" if "_x" in name else "Uniformer")
        assert (found.variant_of, found.differences) == (None, ())

    @pytest.mark.parametrize(
        ("name", "head"), [("video_small", 64), ("video_xxs", 28), ("video_xs", 32), (PLUS[0], "32 or 64")]
    )
    def test_the_width_of_a_head_comes_from_the_table_since_no_file_shows_it(self, name, head):
        assert inspect_weights(state_of(name)).settings["UNIFORMER.HEAD_DIM"] == head

    def test_settings_are_configuration_keys(self):
        assert inspect_weights(state_of("video_small")).settings == {
            "MODEL.MODEL_NAME": "Uniformer",
            "MODEL.NUM_CLASSES": 400,
            "UNIFORMER.IMAGE": False,
            "UNIFORMER.DEPTH": [3, 4, 8, 3],
            "UNIFORMER.EMBED_DIM": [64, 128, 320, 512],
            "UNIFORMER.MLP_RATIO": 4.0,
            "UNIFORMER.LOCAL_KERNEL": [5, 5, 5],
            "UNIFORMER.STD": False,
            "UNIFORMER.LAYER_SCALE": False,
            "UNIFORMER.CONV_STEM": False,
            "UNIFORMER.SPLIT": False,
            "UNIFORMER.AUX_HEAD": False,
            "UNIFORMER.HEAD_DIM": 64,
        }

    def test_the_head_does_not_count(self):
        found = inspect_weights(state_of("video_base", head__weight=(174, 512), head__bias=(174,)))
        assert (found.networks, found.classes) == (("video_base",), 174)
        found = inspect_weights(state_of("video_base", head__weight=None, head__bias=None))
        assert (found.networks, found.classes) == (("video_base",), None)

    def test_an_image_network_with_temporal_extents_of_one(self):
        state = {key: t.unsqueeze(2) if t.ndim == 4 else t for key, t in state_of("image_base_ls").items()}
        assert inspect_weights(state).networks == ("image_base_ls",)

    def test_batch_counters_of_old_files_may_be_missing(self):
        state = {key: t for key, t in state_of("video_small").items() if not key.endswith("num_batches_tracked")}
        assert inspect_weights(state).networks == ("video_small",)

    def test_pointwise_kernels_without_their_ones(self):
        state = {
            key: t.reshape(t.shape[:2]) if t.shape[2:] == (1, 1, 1) else t for key, t in state_of("video_small").items()
        }
        assert inspect_weights(state).networks == ("video_small",)


class TestOthers:
    def test_another_local_kernel(self):
        state = {
            key: torch.empty(*t.shape[:2], 3, 5, 5, device="meta") if key.endswith(".attn.weight") else t
            for key, t in state_of("video_small").items()
        }
        found = inspect_weights(state)
        assert found.networks == ()
        assert found.network == "a variant of video_small (UNIFORMER.LOCAL_KERNEL [3, 5, 5], published [5, 5, 5])"
        assert found.settings["UNIFORMER.LOCAL_KERNEL"] == [3, 5, 5]
        assert "UNIFORMER.HEAD_DIM" not in found.settings

    def test_a_tensor_missing_and_one_more(self):
        found = inspect_weights(state_of("video_small", norm__bias=None, extra=(3,)))
        assert found.network == "a variant of video_small (1 missing: norm.bias; 1 unexpected: extra)"

    def test_a_tensor_of_another_shape(self):
        found = inspect_weights(state_of("video_xxs", cls_upsample__bias=(447,)))
        assert found.network == "a variant of video_xxs (1 of another shape: cls_upsample.bias)"

    def test_another_size(self):
        found = inspect_weights(tiny().state_dict())
        assert found.network == "Uniformer for video, of no published size"
        assert found.settings["UNIFORMER.DEPTH"] == [1, 2, 2, 1]
        assert found.settings["UNIFORMER.EMBED_DIM"] == [8, 16, 24, 32]
        assert found.classes == 5
        assert inspect_weights(tiny(image=True).state_dict()).network == "Uniformer for images, of no published size"

    def test_something_else(self):
        found = inspect_weights({"layer1.0.conv1.weight": torch.zeros(4, 3, 3, 3), "fc.bias": torch.zeros(2).half()})
        assert found.network == "unknown: its tensors have other names"
        assert (found.kind, found.settings, found.classes) == (None, {}, None)
        assert found.parameters == 4 * 27 + 2
        assert found.dtypes == {"float32": 1, "float16": 1}


class TestContent:
    def test_a_plain_state_dict(self):
        found = inspect_content(tiny().state_dict())
        assert (found.wrappers, found.besides, found.checkpoint, found.epoch, found.class_names) == (
            *((), (), False),
            *(None, None),
        )

    def test_wrappers_from_the_outside_in_and_what_lies_beside(self):
        state = {f"module.{key}": value for key, value in tiny().state_dict().items()}
        found = inspect_content({"model": {"state_dict": state, "arch": "small"}, "epoch": 299, "lr": 0.1})
        assert found.wrappers == ("model", "state_dict", "module.")
        assert found.besides == ("epoch (int)", "lr (float)", "arch (str)")
        assert found.epoch == 299
        assert not found.checkpoint
        assert found.classes == 5

    def test_a_checkpoint_of_this_toolkit(self):
        names = ["a", "b", "c", "d", "e"]
        content = {
            "epoch": 3,
            "model_state": tiny().state_dict(),
            "optimizer_state": {},
            "cfg": "",
            "history": [],
            "class_names": names,
            "best": None,
        }
        found = inspect_content(content)
        assert (found.checkpoint, found.epoch, found.class_names) == (True, 3, ("a", "b", "c", "d", "e"))
        assert found.besides == (
            *("epoch (int)", "optimizer_state (dict)", "cfg (str)", "history (list)", "class_names (list)"),
        )

    def test_a_real_checkpoint_of_this_toolkit(self, tmp_path):
        state = tiny().state_dict()
        save_checkpoint(Checkpoint(epoch=2, model_state=state, optimizer_state={}, cfg=""), tmp_path / "a.pyth")
        found = inspect_file(tmp_path / "a.pyth")
        assert (found.checkpoint, found.epoch) == (True, 2)
        assert not any("NoneType" in text for text in found.besides)

    def test_a_checkpoint_of_another_toolkit_on_these_conventions(self):
        content = {"epoch": 3, "model_state": tiny().state_dict(), "optimizer_state": {}, "cfg": "MODEL: {}\n"}
        assert not inspect_content({**content, "scaler_state": {}}).checkpoint

    def test_what_reading_a_safetensors_file_adds_is_not_said_of_it(self, tmp_path):
        write_weights(tiny().state_dict(), tmp_path / "a.safetensors", class_names=list("abcde"), config_yaml="x: 1")
        found = inspect_file(tmp_path / "a.safetensors")
        assert (found.wrappers, found.besides) == ((), ("cfg (str)", "class_names (str)"))
        assert found.class_names == tuple("abcde")
        other = {"state_dict": tiny().state_dict(), "metadata": {"step": 7}}
        assert inspect_content(other).wrappers == ("state_dict",)

    def test_an_epoch_that_is_no_number(self):
        assert inspect_content({"model": tiny().state_dict(), "epoch": "last"}).epoch is None

    def test_no_tensors(self):
        with pytest.raises(WeightError, match="^the file holds no tensors"):
            inspect_content({"a": 1}, "the file")


def with_settings(name: str, **section: object) -> inspect.Inspection:
    """Return what a file is that has the tensors of a published network, and these settings."""
    return inspect_weights(state_of(name), yaml.safe_dump({"UNIFORMER": section}))


class TestHiddenSettings:
    def test_published_ones_change_nothing(self):
        found = with_settings("video_small", HEAD_DIM=64, QKV_SCALE=None, PRUNE_RATIO=None)
        assert found.networks == ("video_small",)
        assert found.settings == inspect_weights(state_of("video_small")).settings

    def test_another_head_is_another_network(self):
        found = with_settings("video_small", HEAD_DIM=32)
        assert found.networks == ()
        assert found.network == "a variant of video_small (UNIFORMER.HEAD_DIM 32, published 64)"
        assert found.settings["UNIFORMER.HEAD_DIM"] == 32

    @pytest.mark.parametrize(("head", "name"), [(32, PLUS[0]), (64, PLUS[1])])
    def test_what_tells_two_networks_apart(self, head, name):
        found = with_settings(PLUS[0], HEAD_DIM=head)
        assert (found.networks, found.settings["UNIFORMER.HEAD_DIM"]) == ((name,), head)

    def test_one_that_neither_has(self):
        found = with_settings(PLUS[0], HEAD_DIM=16)
        assert found.network == f"a variant of {PLUS[0]} (UNIFORMER.HEAD_DIM 16, published 32)"

    def test_merging(self):
        shares = [[], [], [1, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0.5, 0.5]]
        found = with_settings("video_xxs", HEAD_DIM=28, PRUNE_RATIO=shares)
        assert found.variant_of == "video_xxs"
        assert found.differences[0].startswith("UNIFORMER.PRUNE_RATIO [[], [], [1, 0.25, ")
        assert found.settings["UNIFORMER.PRUNE_RATIO"] == shares

    def test_of_a_variant_and_of_no_published_size(self):
        text = "UNIFORMER: {HEAD_DIM: 8}"
        found = inspect_weights(state_of("video_small", norm__bias=None), text)
        assert found.differences == ("1 missing: norm.bias", "UNIFORMER.HEAD_DIM 8, published 64")
        found = inspect_weights(tiny().state_dict(), text)
        assert found.settings["UNIFORMER.HEAD_DIM"] == 8

    def test_from_the_file_itself(self, tmp_path):
        text = "UNIFORMER: {HEAD_DIM: 8}\n"
        for suffix in (".pyth", ".safetensors"):
            write_weights(tiny().state_dict(), tmp_path / f"a{suffix}", config_yaml=text)
            assert inspect_file(tmp_path / f"a{suffix}").settings["UNIFORMER.HEAD_DIM"] == 8


class TestClassNames:
    @pytest.mark.parametrize(
        ("content", "names"),
        [
            ({"class_names": ["a", "b"]}, ("a", "b")),
            ({"class_names": ("a",)}, ("a",)),
            ({"metadata": {"class_names": '["a", "b"]'}}, ("a", "b")),
            ({"class_names": ["a"], "metadata": {"class_names": '["b"]'}}, ("a",)),
            ({"class_names": []}, None),
            ({"class_names": None}, None),
            ({"class_names": [1, 2]}, None),
            ({"class_names": "ab"}, None),
            ({"metadata": {"class_names": "{"}}, None),
            ({"metadata": {"class_names": ["a"]}}, None),
            ({"metadata": None}, None),
            ({}, None),
            ([], None),
        ],
    )
    def test_names(self, content, names):
        assert class_names_in(content) == names


class TestWords:
    def test_lines(self):
        content = {
            "epoch": 3,
            "model_state": tiny().state_dict(),
            "optimizer_state": {},
            "cfg": "",
            "history": [],
            "class_names": ["red", "green", "blue", "black", "white"],
        }
        lines = dict(line.split(None, 1) for line in inspect_content(content).lines()[:3])
        assert lines["network"] == "Uniformer for video, of no published size"
        assert lines["classes"] == "5, named: red, green, blue, ..."
        assert lines["tensors"].endswith(" M parameters") and " float32, " in lines["tensors"]
        text = "\n".join(inspect_content(content).lines())
        assert "settings    MODEL.MODEL_NAME Uniformer, MODEL.NUM_CLASSES 5, " in text
        assert "wrapped in  model_state" in text
        assert "checkpoint  of this toolkit, after epoch 3; a run can go on from it" in text
        besides = "epoch (int), optimizer_state (dict), cfg (str), history (list), class_names (list)"
        assert f"holds also  {besides}" in text

    def test_names_that_are_not_as_many_as_the_classes(self):
        content = {"model": tiny().state_dict(), "class_names": ["red", "green"]}
        assert "classes     5, but the file names 2 classes: red, green" in inspect_content(content).lines()

    def test_lines_of_little(self):
        state = {"a": torch.zeros(2)}
        assert inspect_content(state).lines() == [
            "network     unknown: its tensors have other names",
            "classes     no head",
            "tensors     1 (1 float32), 0.000 M parameters",
        ]
        assert "epoch       7" in inspect_content({"model": state, "epoch": 7}).lines()

    def test_json(self):
        found = json.loads(json.dumps(inspect_weights(state_of("video_xs")).as_dict()))
        assert found["network"] == "video_xs"
        assert found["networks"] == ["video_xs"]
        assert found["settings"]["UNIFORMER.DEPTH"] == [3, 5, 9, 3]
        assert found["class_names"] is None


def test_a_file(tmp_path):
    path = saved({"model": tiny().state_dict()}, tmp_path / "a.pth")
    assert inspect_file(path).wrappers == ("model",)
    (tmp_path / "a.txt").write_text("<!DOCTYPE html>")
    with pytest.raises(WeightError, match=r"a\.txt' is text, not a PyTorch file"):
        inspect_file(tmp_path / "a.txt")
