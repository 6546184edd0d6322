"""A file is the published one, another one, or its tensors must speak for it."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.models.published import saved
from uniformer_video.models import inspect
from uniformer_video.models.export import write_weights
from uniformer_video.models.published import Network
from uniformer_video.models.verify import Verdict, verify
from uniformer_video.models.zoo import ZOO
from uniformer_video.runtime.errors import UserError, WeightError

NAME, OTHER_NAME, UNCHECKED = "uniformer_small_in1k", "uniformer_base_in1k", "uniformer_xxs16_160_k400"
CONTENT = b"weights"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> Path:
    """Return an empty folder of weights, the only place there is; NAME is published with CONTENT."""
    monkeypatch.delenv("UNIFORMER_WEIGHTS", raising=False)
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(ZOO, NAME, replace(ZOO[NAME], sha256=SHA, bytes=len(CONTENT)))
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@pytest.fixture
def tiny_network(monkeypatch):
    """Make UNCHECKED the name of a network that takes no time to write and read, and return its state."""
    network = Network("Uniformer", {"num_classes": 400, "depths": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "head_dim": 8})
    monkeypatch.setitem(inspect.NETWORKS, "tiny", network)
    monkeypatch.setitem(ZOO, UNCHECKED, replace(ZOO[UNCHECKED], network="tiny"))
    return network.build().state_dict()


def put(folder: Path, name: str, data: bytes = CONTENT) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


class TestByHash:
    def test_a_name(self, folder):
        path = put(folder, f"{NAME}.pth")
        assert verify(NAME, str(folder)) == Verdict(path, True, f"it is the published {NAME}")

    @pytest.mark.parametrize("name", [f"{NAME}.pth", "renamed.pth", f"{NAME}.pyth"])
    def test_a_path(self, folder, name):
        path = put(folder, name)
        assert verify(str(path)) == Verdict(path, True, f"it is the published {NAME}")

    def test_under_the_name_of_another(self, folder):
        path = put(folder, f"{OTHER_NAME}.pth")
        assert verify(str(path)) == Verdict(path, False, f"it is the published {NAME}, not {OTHER_NAME}")

    def test_other_bytes(self, folder):
        path, other = put(folder, f"{NAME}.pth", b"Weights"), hashlib.sha256(b"Weights").hexdigest()
        text = f"it is not the published {NAME}: its sha256 is {other}, that of the published file {SHA}"
        assert verify(NAME, str(folder)) == Verdict(path, False, text)

    def test_another_size(self, folder):
        path = put(folder, f"{NAME}.pth", b"weight")
        text = f"it is not the published {NAME}: it has 6 bytes, the published file 7"
        assert verify(NAME, str(folder)) == Verdict(path, False, text)

    def test_what_was_remembered_does_not_count(self, folder, tmp_path):
        path = put(folder, f"{NAME}.pth")
        stat = path.stat()
        (tmp_path / "cache").mkdir()
        wrong = f'{{"{path}": [{stat.st_size}, {stat.st_mtime_ns}, "{"0" * 64}"]}}'
        (tmp_path / "cache" / "checked.json").write_text(wrong)
        assert verify(NAME, str(folder)).good

    def test_a_file_of_nobody(self, folder):
        path = put(folder, "mine.pth", b"x")
        sha256 = hashlib.sha256(b"x").hexdigest()
        text = f"it is none of the published files with a known sha256; its own is {sha256}"
        assert verify(str(path)) == Verdict(path, False, text)


class TestByTensors:
    @pytest.mark.parametrize("suffix", [".pth", ".pyth"])
    def test_the_right_network(self, folder, tiny_network, suffix):
        path = Path(saved(tiny_network, folder / (UNCHECKED + suffix)))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        text = f"it is tiny with 400 classes; no published sha256 to compare its own with, {sha256}"
        assert verify(UNCHECKED, str(folder)) == Verdict(path, True, text)

    @pytest.mark.parametrize("suffix", [".safetensors", ".pyth"])
    def test_a_converted_file_is_compared_as_far_as_can_be(self, folder, tiny_network, monkeypatch, suffix):
        monkeypatch.setitem(ZOO, UNCHECKED, replace(ZOO[UNCHECKED], sha256="0" * 64, bytes=7))
        path = folder / (UNCHECKED + suffix)
        write_weights(tiny_network, path)
        assert verify(UNCHECKED, str(folder)) == Verdict(
            *(path, True),
            "it is tiny with 400 classes; names and shapes agree, but the values of a converted file cannot be "
            f"compared with the published {UNCHECKED}.pth",
        )

    def test_a_file_that_another_installation_could_read_is_not_called_good(self, folder, tiny_network, monkeypatch):
        write_weights(tiny_network, folder / f"{UNCHECKED}.safetensors")
        monkeypatch.setitem(sys.modules, "safetensors.torch", None)
        with pytest.raises(WeightError, match=r'pip install "uniformer_video\[safetensors\]"$'):
            verify(UNCHECKED, str(folder))

    def test_other_classes(self, folder, tiny_network):
        tiny_network |= {"head.weight": torch.zeros(600, 8), "head.bias": torch.zeros(600)}
        saved(tiny_network, folder / f"{UNCHECKED}.pth")
        assert verify(UNCHECKED, str(folder)).text == (
            f"it is not the published {UNCHECKED}: it is tiny with 600 classes, not tiny with 400 classes"
        )

    def test_another_network(self, folder, tiny_network):
        saved({"a": torch.zeros(1)}, folder / f"{UNCHECKED}.pth")
        verdict = verify(UNCHECKED, str(folder))
        assert not verdict.good
        assert "it is unknown: its tensors have other names with no classes, not tiny" in verdict.text

    def test_no_weights_at_all(self, folder):
        path = put(folder, f"{UNCHECKED}.pth", b"<!DOCTYPE html>")
        verdict = verify(UNCHECKED, str(folder))
        assert (verdict.path, verdict.good) == (path, False)
        assert verdict.text.startswith(f"it is not the published {UNCHECKED}: it is text, not a PyTorch file")


class TestNothing:
    def test_a_name_that_is_not_here(self, folder):
        with pytest.raises(
            UserError, match=f"^{NAME} does not lie on this machine; python tools/zoo.py download {NAME}$"
        ):
            verify(NAME, str(folder))

    @pytest.mark.parametrize("text", ["none.pth", "uniformer", ""])
    def test_no_file(self, text):
        with pytest.raises(
            UserError, match=f"^there is no weight file '{text}', and no published weights have that name$"
        ):
            verify(text)
