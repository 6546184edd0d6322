"""What is exported is read back: the same numbers, the class names, and nothing else."""

from __future__ import annotations

import json
import os
import sys

import pytest
import torch
import yaml

from tests.models.published import error_of, filled_state, saved, state_keys, tiny
from uniformer_video.config import KEYS, differences, dump, get_value, load_config
from uniformer_video.models.export import PRIVATE, export_file, published_form, without_places, write_weights
from uniformer_video.models.inspect import class_names_in, configuration_in, inspect_file
from uniformer_video.models.published import build_published
from uniformer_video.models.weights import load_weights, read_content, read_weights
from uniformer_video.runtime.errors import UserError, WeightError

NAMES = ["a", "b", "größe", "d", "e"]
FORMATS = (".pyth", ".pth", ".safetensors")


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return tiny().state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


class TestWrite:
    @pytest.mark.parametrize("suffix", FORMATS)
    def test_read_back(self, state, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        write_weights(state, path, class_names=NAMES, config_yaml="MODEL: {NUM_CLASSES: 5}\n")
        assert same(read_weights(path), state)
        assert class_names_in(read_content(path)) == tuple(NAMES)
        assert os.listdir(tmp_path) == [path.name]

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_the_same_logits(self, state, tmp_path, suffix):
        write_weights(state, tmp_path / f"a{suffix}")
        one, other = tiny().eval(), tiny()
        torch.nn.init.zeros_(other.head.weight)
        assert len(load_weights(other, tmp_path / f"a{suffix}").loaded) == len(state)
        clip = torch.randn(1, 3, 4, 32, 32)
        with torch.no_grad():
            assert torch.equal(other.eval()(clip), one(clip))

    def test_what_a_pytorch_file_holds(self, state, tmp_path):
        write_weights(state, tmp_path / "a.pyth", class_names=NAMES, config_yaml="x: 1")
        content = torch.load(tmp_path / "a.pyth", weights_only=True)
        assert {key: content[key] for key in content if key != "model_state"} == {"class_names": NAMES, "cfg": "x: 1"}
        write_weights(state, tmp_path / "a.pyth")
        assert list(torch.load(tmp_path / "a.pyth", weights_only=True)) == ["model_state"]

    def test_what_a_safetensors_header_holds(self, state, tmp_path):
        write_weights(state, tmp_path / "a.safetensors", class_names=NAMES, config_yaml="x: 1")
        safe_open = pytest.importorskip("safetensors").safe_open
        with safe_open(tmp_path / "a.safetensors", "pt") as file:
            assert file.metadata() == {"format": "pt", "class_names": json.dumps(NAMES), "cfg": "x: 1"}

    def test_the_published_network_is_named(self, tmp_path):
        write_weights(filled_state("video_xxs"), tmp_path / "a.pyth")
        assert torch.load(tmp_path / "a.pyth", weights_only=True)["network"] == "video_xxs"

    def test_a_part_of_a_large_tensor_takes_its_own_room_alone(self, tmp_path):
        large = torch.zeros(1_000_000)
        for suffix in FORMATS:
            path = tmp_path / f"a{suffix}"
            write_weights({"a": large[:10], "b": large[5:15], "c": torch.zeros(4, 4).t()}, path)
            assert path.stat().st_size < 5000
            assert read_weights(path)["b"].shape == (10,)

    def test_a_file_is_replaced_whole(self, state, tmp_path):
        (tmp_path / "a.pyth").write_text("old")
        write_weights(state, tmp_path / "a.pyth")
        assert same(read_weights(tmp_path / "a.pyth"), state)


class TestHalf:
    @pytest.mark.parametrize("suffix", FORMATS)
    def test_floating_tensors_alone(self, state, tmp_path, suffix):
        write_weights(state, tmp_path / f"a{suffix}", half=True)
        read = read_weights(tmp_path / f"a{suffix}")
        for name, tensor in state.items():
            if tensor.is_floating_point():
                assert torch.equal(read[name], tensor.half())
            else:
                assert read[name].dtype == tensor.dtype
        assert inspect_file(tmp_path / f"a{suffix}").dtypes.keys() == {"float16", "int64"}
        model = tiny()
        load_weights(model, tmp_path / f"a{suffix}")
        assert model.head.weight.dtype == torch.float32
        assert torch.equal(model.head.weight, state["head.weight"].half().float())

    def test_a_number_that_does_not_fit(self, state, tmp_path):
        state["norm.weight"][0] = 7e4
        with pytest.raises(UserError) as caught:
            write_weights(state, tmp_path / "a.pyth", half=True)
        assert str(caught.value) == "norm.weight has 70000, and float16 ends at 65504; export without --half"
        assert os.listdir(tmp_path) == []

    def test_infinity_stays_what_it_is(self, state, tmp_path):
        state["norm.weight"][0] = torch.inf
        write_weights(state, tmp_path / "a.pyth", half=True)
        assert read_weights(tmp_path / "a.pyth")["norm.weight"][0] == torch.inf


class TestImages:
    @pytest.mark.parametrize("name", ["image_small_plus", "image_xxs_128"])
    def test_kernels_are_the_published_2d_ones(self, name):
        with torch.device("meta"):
            model = build_published(name)
        assert {key: list(t.shape) for key, t in published_form(model.state_dict()).items()} == state_keys()[name][
            "state"
        ]

    def test_layer_scale(self):
        model = tiny(image=True, layer_scale=True)
        assert published_form(model.state_dict())["blocks1.0.gamma_1"].shape == (1, 8, 1, 1)

    def test_a_video_network_keeps_its_own(self, state):
        assert same(published_form(state), state)

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_read_back(self, tmp_path, suffix):
        model = tiny(image=True, layer_scale=True, aux_head=True)
        write_weights(model.state_dict(), tmp_path / f"a{suffix}")
        assert read_weights(tmp_path / f"a{suffix}")["patch_embed1.proj.weight"].shape == (8, 3, 4, 4)
        other = tiny(image=True, layer_scale=True, aux_head=True)
        torch.nn.init.zeros_(other.patch_embed1.proj.weight)
        load_weights(other, tmp_path / f"a{suffix}")
        assert same(other.state_dict(), model.state_dict())


class TestExport:
    def checkpoint(self, state, **more) -> dict:
        training = {"epoch": 3, "optimizer_state": {"state": {}}, "history": [{"loss": 1.0}]}
        return {**training, "model_state": state, "cfg": "MODEL: {}\n", **more}

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_a_checkpoint_is_stripped(self, state, tmp_path, suffix):
        source = saved(self.checkpoint(state, class_names=NAMES), tmp_path / "checkpoint.pyth")
        export_file(source, tmp_path / f"out{suffix}")
        found = inspect_file(tmp_path / f"out{suffix}")
        assert same(read_weights(tmp_path / f"out{suffix}"), state)
        assert (found.class_names, found.checkpoint, found.epoch) == (tuple(NAMES), False, None)
        assert not any("optimizer" in text or "history" in text for text in found.besides)

    def test_there_and_back_again(self, state, tmp_path):
        source = saved(self.checkpoint(state, class_names=NAMES), tmp_path / "checkpoint.pyth")
        export_file(source, tmp_path / "a.safetensors")
        export_file(tmp_path / "a.safetensors", tmp_path / "b.pyth")
        content = torch.load(tmp_path / "b.pyth", weights_only=True)
        assert (content["class_names"], content["cfg"]) == (NAMES, "MODEL: {}\n")
        assert same(content["model_state"], state)

    def test_a_file_of_another_program(self, state, tmp_path):
        wrapped = {"state_dict": {f"module.{n}": t for n, t in state.items()}, "cfg": {"lr": 1}, "class_names": "?"}
        export_file(saved(wrapped, tmp_path / "a.pth"), tmp_path / "b.pyth")
        assert list(torch.load(tmp_path / "b.pyth", weights_only=True)) == ["model_state"]
        assert same(read_weights(tmp_path / "b.pyth"), state)

    def test_onto_itself(self, state, tmp_path):
        source = saved(self.checkpoint(state), tmp_path / "a.pyth")
        export_file(source, source, half=True)
        assert read_weights(source)["head.bias"].dtype == torch.float16


class TestPlaces:
    """The configuration goes along, the places on the machine of the training do not."""

    SETTINGS = (
        *("OUTPUT_DIR", "/data/me/runs", "DATA.PATH_TO_DATA_DIR", "/data/me/lists", "DATA.PATH_PREFIX", "/data/videos"),
        *("TRAIN.CHECKPOINT_FILE_PATH", "/data/me/a.pth", "TEST.CHECKPOINT_FILE_PATH", "/data/me/b.pth"),
        *("UNIFORMER.WEIGHTS_DIR", "/data/weights", "TENSORBOARD.LOG_DIR", "/data/me/events"),
        *("DATA.PATH_LABEL_SEPARATOR", ",", "SOLVER.BASE_LR", "3.3e-5", "UNIFORMER.HEAD_DIM", "8"),
    )

    def test_of_a_checkpoint(self, state, tmp_path):
        cfg = load_config(None, [*self.SETTINGS, "UNIFORMER.PRETRAIN_NAME", "/data/me/c.pth"])
        source = saved({"model_state": state, "cfg": dump(cfg)}, tmp_path / "a.pyth")
        for suffix in FORMATS:
            export_file(source, tmp_path / f"out{suffix}")
            text = configuration_in(read_content(tmp_path / f"out{suffix}"))
            assert "/data" not in text
            left, before = yaml.safe_load(text), yaml.safe_load(dump(cfg))
            for key in PRIVATE:
                *sections, last = key.split(".")
                one, other = (tree[sections[0]] if sections else tree for tree in (left, before))
                assert one.pop(last) == "" and other.pop(last).startswith("/data")
            assert left == before
            assert differences(cfg, text) == [f"{key}:  -> {get_value(cfg, key)}" for key in KEYS if key in PRIVATE]

    @pytest.mark.parametrize(
        ("name", "kept"),
        [
            ("uniformer_small_in1k", True),
            ("uniformer_small_in1k.pth", True),
            ("https://host/a.pth", True),
            ("", True),
            ("weights/uniformer_small_in1k.pth", False),
            ("mine.pth", False),
            ("~/mine.pth", False),
        ],
    )
    def test_weights_to_start_from(self, name, kept):
        text = yaml.safe_dump({"UNIFORMER": {"PRETRAIN_NAME": name}})
        assert yaml.safe_load(without_places(text))["UNIFORMER"]["PRETRAIN_NAME"] == (name if kept else "")

    @pytest.mark.parametrize("text", ["", "[", "/data/me", "- /data/me", "1"])
    def test_what_is_no_configuration_stays_behind(self, text):
        assert without_places(text) == ""

    def test_sections_of_another_kind(self):
        tree = {"DATA": ["a"], "TRAIN": None, "TEST": {"X": 1}, "OUTPUT_DIR": ["/data/me"]}
        assert yaml.safe_load(without_places(yaml.safe_dump(tree))) == {**tree, "OUTPUT_DIR": ""}

    def test_a_network_with_other_settings_is_not_called_published(self, tmp_path):
        state = filled_state("video_xxs")
        for head, known in ((28, "video_xxs"), (14, None)):
            write_weights(state, tmp_path / "a.pyth", config_yaml=f"UNIFORMER: {{HEAD_DIM: {head}}}")
            assert torch.load(tmp_path / "a.pyth", weights_only=True).get("network") == known


class TestMistakes:
    @pytest.mark.parametrize("suffix", FORMATS)
    @pytest.mark.parametrize("half", [False, True])
    def test_a_sparse_tensor(self, state, tmp_path, suffix, half):
        content = {**state, "head.weight": state["head.weight"].to_sparse()}
        assert error_of(export_file, saved(content, tmp_path / "a"), tmp_path / f"b{suffix}", half=half) == (
            "head.weight is a sparse tensor (torch.sparse_coo), which no network here has; save it with to_dense()"
        )
        assert os.listdir(tmp_path) == ["a"]

    @pytest.mark.parametrize("name", ["a", "a.pt", "a.onnx", "a.PTH"])
    def test_another_ending(self, state, tmp_path, name):
        with pytest.raises(UserError) as caught:
            write_weights(state, tmp_path / name)
        message = f"'{tmp_path / name}' has no ending that says a format: .pyth, .pth, .safetensors"
        assert str(caught.value) == message

    def test_no_folder(self, state, tmp_path):
        with pytest.raises(UserError, match=r"cannot be written: '.*none' is no folder; make it first$"):
            write_weights(state, tmp_path / "none" / "a.pth")

    def test_a_folder_in_its_place(self, state, tmp_path):
        (tmp_path / "a.pth").mkdir()
        with pytest.raises(UserError, match=r"a\.pth' cannot be written \(Is a directory\); check the folder"):
            write_weights(state, tmp_path / "a.pth")

    def test_names_of_other_classes(self, state, tmp_path):
        with pytest.raises(UserError, match=r"^2 class names for a head of 5 classes; they do not belong together$"):
            write_weights(state, tmp_path / "a.pth", class_names=["a", "b"])

    def test_without_the_package(self, state, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "safetensors.torch", None)
        with pytest.raises(WeightError) as caught:
            write_weights(state, tmp_path / "a.safetensors")
        assert str(caught.value) == (
            'the package that writes safetensors files is not installed: pip install "uniformer_video[safetensors]"'
        )
        assert os.listdir(tmp_path) == []

    def test_a_source_that_is_none(self, tmp_path):
        assert "No such file" in error_of(export_file, tmp_path / "none.pth", tmp_path / "a.pth")
