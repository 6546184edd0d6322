"""Published networks by the name of their weights: found, loaded whole, changed, refused; nothing is downloaded."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.fill import clip, fill
from tests.models.published import TINY, filled_state, golden, relative, saved
from tests.toy import log
from uniformer_video import models
from uniformer_video.models import hub, load_published
from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.layers import DropPath
from uniformer_video.models.published import NETWORKS, Network
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.models.zoo import ZOO
from uniformer_video.runtime.errors import UserError, WeightError

__all__ = ["log"]

NAME, K600, LIGHT = "uniformer_base_k400_16x4", "uniformer_base_k600_32x4", "uniformer_xxs16_160_k400"
IMAGE = "uniformer_small_in1k"


@pytest.fixture(autouse=True)
def nothing_from_elsewhere(monkeypatch, tmp_path):
    """No folder but the one a test gives, and no download."""
    for name in ("UNIFORMER_WEIGHTS", "UNIFORMER_ZOO_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("uniformer_video.models.zoo.PATHS", None)


def put(monkeypatch, folder: Path, name: str, state, network: str = "") -> None:
    """Put a weight file into a folder, as the zoo's file of that name, of ``network``."""
    folder.mkdir(exist_ok=True)
    path = Path(saved({"model": state}, folder / f"{name}.pth"))
    data = path.read_bytes()
    entry = replace(ZOO[name], sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    monkeypatch.setitem(ZOO, name, replace(entry, network=network or entry.network))


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Path:
    """Return a folder with small files in place of the published ones, of small networks in place of theirs."""
    kwargs = {**TINY, "num_classes": 400, "local_kernel": (5, 5, 5)}
    small = {
        "video_base": Network("Uniformer", kwargs),
        "video_xxs": Network("Hourglass", kwargs),
        "image_small": Network("Uniformer", {**kwargs, "num_classes": 1000, "image": True}),
    }
    for network, shape in small.items():
        monkeypatch.setitem(NETWORKS, network, shape)
    for name, network in ((NAME, "video_base"), (K600, "video_base"), (LIGHT, "video_xxs"), (IMAGE, "image_small")):
        state = fill(small[network].build(num_classes=ZOO[name].classes).state_dict())
        if network == "image_small":
            state = {n: tensor.squeeze(2) if tensor.ndim == 5 else tensor for n, tensor in state.items()}
        put(monkeypatch, tmp_path / "weights", name, state)
    return tmp_path / "weights"


def logits(model, frames=4):
    with torch.inference_mode():
        return model(clip((2, 3, frames, 32, 32)))


def error_of(*args, kind=UserError, **kwargs) -> str:
    with pytest.raises(kind) as caught:
        load_published(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestWeights:
    @pytest.mark.parametrize(("name", "classes"), [(NAME, 400), (K600, 600), (LIGHT, 400), (IMAGE, 1000)])
    def test_the_network_with_the_weights_of_the_file_in_eval_mode(self, folder, name, classes):
        model = load_published(name, folder=folder)
        assert isinstance(model, Hourglass if name == LIGHT else Uniformer)
        assert not any(module.training for module in model.modules())
        assert model.head.weight.shape == (classes, 32)
        same = NETWORKS[ZOO[name].network].build(num_classes=classes).eval()
        same.load_state_dict(fill(same.state_dict()))
        assert all(torch.equal(tensor, same.state_dict()[n]) for n, tensor in model.state_dict().items())
        frames = 1 if name == IMAGE else 4
        assert torch.equal(logits(model, frames), logits(same, frames))

    def test_the_published_network_with_its_golden_logits(self, monkeypatch, tmp_path, log):
        network = "video_xxs_layer_scale"
        put(monkeypatch, tmp_path / "weights", LIGHT, filled_state(network), network)
        model = load_published(LIGHT, folder=str(tmp_path / "weights"))
        with torch.inference_mode():
            assert relative(model(clip((2, 3, 4, 128, 128))), golden("video_xxs_layer_scale_4x128")) < 1e-5
        path = tmp_path / "weights" / f"{LIGHT}.pth"
        assert log == [f"INFO: {path}: {len(model.state_dict())} tensors loaded"]

    def test_the_folder_of_the_environment(self, folder, monkeypatch):
        monkeypatch.setenv("UNIFORMER_WEIGHTS", str(folder))
        assert torch.equal(logits(load_published(NAME)), logits(load_published(NAME, folder=folder)))

    def test_it_is_part_of_the_room(self):
        assert models.load_published is hub.load_published
        assert "load_published" in models.__all__
        kinds = [p.kind for p in inspect.signature(load_published).parameters.values()]
        assert [kind.name for kind in kinds] == ["POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY", "VAR_KEYWORD"]


class TestChanges:
    @pytest.mark.parametrize("name", [NAME, LIGHT])
    def test_another_head_starts_anew_and_nothing_else(self, folder, name, log):
        model, whole = load_published(name, folder=folder, num_classes=7), load_published(name, folder=folder)
        assert logits(model).shape == (2, 7)
        heads = {"head.weight", "head.bias"} | ({"head_cls.weight", "head_cls.bias"} if name == LIGHT else set())
        state = whole.state_dict()
        for key, tensor in model.state_dict().items():
            if key not in heads:
                assert torch.equal(tensor, state[key]), key
            elif key.endswith("bias"):
                assert not tensor.any()
            else:
                assert tensor.std() == pytest.approx(0.02, rel=0.3)
        assert "head left out, it starts anew (head." in log[0]
        assert "left out" not in log[1]

    def test_the_same_number_of_classes_keeps_the_head(self, folder):
        model = load_published(NAME, folder=folder, num_classes=400)
        assert torch.equal(model.head.weight, load_published(NAME, folder=folder).head.weight)

    def test_arguments_without_weights(self, folder):
        model = load_published(
            NAME, folder=folder, drop_path_rate=0.5, head_dropout=0.3, checkpoint_blocks=(1, 1, 1, 1)
        )
        assert max(m.rate for m in model.modules() if isinstance(m, DropPath)) == 0.5
        assert (model.head_dropout.p, model.checkpoint_blocks) == (0.3, (1, 1, 1, 1))
        assert torch.equal(logits(model), logits(load_published(NAME, folder=folder)))

    @pytest.mark.parametrize("classes", [{}, {"num_classes": 7}])
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"local_kernel": (3, 5, 5)}, "UNIFORMER.LOCAL_KERNEL"),
            ({"depths": (1, 2, 3, 1)}, "UNIFORMER.DEPTH"),
            ({"layer_scale": True}, "UNIFORMER.LAYER_SCALE"),
            ({"split": True}, "missing"),
            ({"image": True}, "blocks1.0"),
        ],
    )
    def test_weights_that_do_not_fit_a_change_are_refused(self, folder, changes, classes, words):
        assert words in error_of(NAME, folder=folder, kind=WeightError, **changes, **classes)

    def test_a_head_that_the_file_lacks_is_refused(self, folder, monkeypatch):
        state = NETWORKS["video_base"].build().state_dict()
        put(monkeypatch, folder, NAME, {n: tensor for n, tensor in state.items() if not n.startswith("head.")})
        assert "head.weight" in error_of(NAME, folder=folder, kind=WeightError)


class TestMistakes:
    def test_an_unknown_name_lists_the_nearest(self):
        assert error_of("uniformer_base_k400_16x5").startswith(
            "no published weights have the name 'uniformer_base_k400_16x5'; nearest: uniformer_base_k400_16x4, "
        )
        assert error_of("resnet") == (
            "no published weights have the name 'resnet'; python tools/zoo.py list shows all; load_weights loads a "
            "file of your own"
        )

    def test_a_path_is_no_name(self, folder):
        assert "load_weights loads a file of your own" in error_of(str(folder / f"{NAME}.pth"))

    def test_an_unknown_argument(self):
        assert error_of(NAME, num_class=7) == (
            f"the network of {NAME}, Uniformer, has no argument 'num_class'; nearest: num_classes"
        )
        message = error_of(LIGHT, conv_stem=True)
        assert message.startswith(
            f"the network of {LIGHT}, Hourglass, has no argument 'conv_stem'; known: num_classes, "
        )

    def test_attention_heads_of_another_width_which_no_tensor_shows(self, folder):
        assert error_of(NAME, folder=folder, head_dim=4) == (
            f"{NAME} have attention heads of 8 channels, got head_dim 4, with which every score would be wrong; leave "
            "head_dim out"
        )
        assert load_published(NAME, folder=folder, head_dim=8).blocks3[0].attn.heads == 3

    def test_arguments_that_make_no_network_are_told_before_a_download(self):
        assert error_of(LIGHT, kind=ValueError, num_classes=0) == "num_classes must be >= 1, got 0"

    def test_another_file_under_the_name(self, folder):
        path = folder / f"{NAME}.pth"
        path.write_bytes(path.read_bytes()[:-1])
        assert f"{path} is not the published {NAME}: it has " in error_of(NAME, folder=folder, kind=WeightError)

    def test_weights_without_an_address(self, monkeypatch):
        monkeypatch.setitem(NETWORKS, "video_small", Network("Uniformer", TINY))
        message = error_of("uniformer_small_k400_16x4", kind=WeightError)
        assert "have no known address on the web; put the file at " in message

    def test_a_folder_that_is_none(self, folder):
        assert f"'{folder / 'none'}' is no folder" in error_of(NAME, folder=folder / "none")
