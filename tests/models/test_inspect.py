"""What a file says of itself: the network, the classes, the wrappers, and what it holds besides."""

from __future__ import annotations

import json

import pytest
import torch

from tests.models.published import saved, state_keys, tiny
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
            "class_names": names,
        }
        found = inspect_content(content)
        assert (found.checkpoint, found.epoch, found.class_names) == (True, 3, ("a", "b", "c", "d", "e"))
        assert found.besides == ("epoch (int)", "optimizer_state (dict)", "cfg (str)", "class_names (list)")

    def test_an_epoch_that_is_no_number(self):
        assert inspect_content({"model": tiny().state_dict(), "epoch": "last"}).epoch is None

    def test_no_tensors(self):
        with pytest.raises(WeightError, match="^the file holds no tensors"):
            inspect_content({"a": 1}, "the file")


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
        assert "holds also  epoch (int), optimizer_state (dict), cfg (str), class_names (list)" in text

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
