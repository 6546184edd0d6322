"""A file without a known hash is weights of the right network, or a sentence says why not."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from tests.models.published import saved, tiny
from uniformer_video.models.export import write_weights
from uniformer_video.models.published import NETWORKS, Network
from uniformer_video.models.weight_files import MissingPackage
from uniformer_video.models.zoo_check import no_weights, other_network, wanted
from uniformer_video.models.zoo_table import ZOO

CHECKS = {"no_weights": no_weights, "other_network": lambda path: other_network(path, ZOO["uniformer_small_in1k"])}


@pytest.fixture
def entry(monkeypatch):
    """Return a row of the zoo whose network takes no time to build: ``tiny(num_classes=400)``."""
    kwargs = {"num_classes": 400, "depths": (1, 2, 2, 1), "widths": (8, 16, 24, 32), "head_dim": 8}
    monkeypatch.setitem(NETWORKS, "tiny_video", Network("Uniformer", kwargs))
    return replace(ZOO["uniformer_xxs16_160_k400"], network="tiny_video")


def test_weights_of_the_network(entry, tmp_path):
    path = saved({"model": tiny(num_classes=400).state_dict(), "epoch": 1}, tmp_path / "a.pth.part")
    assert no_weights(path) == other_network(path, entry) == ""
    write_weights(tiny(num_classes=400).state_dict(), tmp_path / "a.safetensors")
    assert no_weights(tmp_path / "a.safetensors") == other_network(tmp_path / "a.safetensors", entry) == ""
    assert wanted(entry) == "tiny_video with 400 classes"


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty; fetch or write it again"),
        (b'{"error": 1}', "it is text, not a PyTorch file (it begins '{\"error\": 1}')"),
        ([1], "it holds a list, not a dict of tensors by name"),
        ({"a": 1}, "it holds no tensors (keys: a); looked at the top and under model, model_state, state_dict"),
        ({"a": 1, "b": torch.zeros(1)}, "it holds more than tensors: a"),
    ],
)
def test_no_weights(tmp_path, check, content, sentence):
    path = tmp_path / "a.pth.part"
    path.write_bytes(content) if isinstance(content, bytes) else saved(content, path)
    assert check(path) == sentence


def test_a_file_that_ends_early(entry, tmp_path):
    path = tmp_path / "a"
    whole = (tmp_path / "b").read_bytes() if saved(tiny(num_classes=400).state_dict(), tmp_path / "b") else b""
    for share in (0.01, 0.25, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert other_network(path, entry) == "it is truncated or not a PyTorch file"


def test_another_network(entry, tmp_path):
    path = saved(tiny(num_classes=600).state_dict(), tmp_path / "a")
    assert no_weights(path) == ""
    assert other_network(path, entry) == "it is tiny_video with 600 classes, not tiny_video with 400 classes"
    path = saved({"a": torch.zeros(1)}, tmp_path / "a")
    assert other_network(path, entry) == (
        "it is unknown: its tensors have other names with no classes, not tiny_video with 400 classes"
    )


def test_the_network_with_other_settings(entry, tmp_path):
    content = {"model_state": tiny(num_classes=400).state_dict(), "cfg": "UNIFORMER: {HEAD_DIM: 4}"}
    assert other_network(saved(content, tmp_path / "a"), entry) == (
        "it is a variant of tiny_video (UNIFORMER.HEAD_DIM 4, published 8) with 400 classes, not tiny_video with 400 "
        "classes"
    )


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_a_file_that_another_installation_could_read(tmp_path, monkeypatch, check):
    write_weights(tiny().state_dict(), tmp_path / "a.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MissingPackage):
        check(tmp_path / "a.safetensors")
