"""Reading weight files: every form they come in, and every way in which one can be broken."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import json
import os
import pickle
import struct
import sys
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_bytes
from safetensors.torch import save_file
from torch import nn

from tests.fill import clip
from tests.models.published import TINY, error_of, saved, tiny
from uniformer_video.models import weights
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.models.weight_files import (
    DIGEST,
    MissingPackage,
    is_safetensors,
    named_tensors,
    read_content,
    read_weights,
)
from uniformer_video.models.weights import load_weights
from uniformer_video.runtime.digest import content_digest
from uniformer_video.runtime.errors import DamagedFile, RefusedFile, WeightError


@pytest.mark.parametrize("wrapper", [None, "model", "model_state", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_wrappers_prefix_and_both_formats_are_understood(tmp_path, wrapper, prefix, zipped):
    state = {"head.weight": torch.randn(2, 3), "norm.num_batches_tracked": torch.tensor(7)}
    content = OrderedDict((prefix + name, tensor) for name, tensor in state.items())
    if wrapper:
        content = {"epoch": 3, "cfg": "MODEL: {}", wrapper: content, "optimizer_state": {"lr": 0.1}}
    got = read_weights(saved(content, tmp_path / "a.pyth", _use_new_zipfile_serialization=zipped))
    assert list(got) == list(state)
    assert all(torch.equal(got[n], state[n]) for n in state)


def test_a_wrapper_within_a_wrapper(tmp_path):
    path = saved({"state_dict": {"model": {"module.a": torch.ones(2)}}}, tmp_path / "a.pyth")
    assert read_weights(path)["a"].tolist() == [1, 1]


def test_a_parameter_that_is_called_like_a_wrapper_is_a_parameter():
    assert list(named_tensors({"model": torch.ones(1)}, "x")) == ["model"]


def test_prefix_comes_off_only_where_all_names_have_it():
    assert list(named_tensors({"module.a": torch.ones(1), "b": torch.ones(1)}, "x")) == ["module.a", "b"]


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.",
        "_orig_mod._orig_mod.",
        "module._orig_mod.module.",
    ],
)
def test_wrappers_within_wrappers_come_off_names(tmp_path, prefix):
    state = {"head.weight": torch.randn(2, 3), "norm.num_batches_tracked": torch.tensor(7)}
    path = saved({"model": {prefix + name: tensor for name, tensor in state.items()}}, tmp_path / "a.pyth")
    got = read_weights(path)
    assert list(got) == list(state)
    assert all(torch.equal(got[n], state[n]) for n in state)


def test_a_compiled_network_gives_the_plain_ones_weights(tmp_path):
    source, model = tiny(), Uniformer(**TINY)
    plain = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    compiled = torch.compile(source, backend="eager")
    assert all(name.startswith("_orig_mod.") for name in compiled.state_dict())
    report = load_weights(model, saved(compiled.state_dict(), tmp_path / "a.pyth"))
    assert report.loaded == list(plain)
    assert all(torch.equal(tensor, plain[name]) for name, tensor in model.state_dict().items())


def test_a_network_compiled_in_parts(tmp_path):
    source = tiny()
    names = list(source.state_dict())
    source.blocks3[1] = torch.compile(source.blocks3[1], backend="eager")
    source.patch_embed1 = torch.compile(source.patch_embed1, backend="eager")
    state = source.state_dict()
    assert {"blocks3.1._orig_mod.norm1.weight", "patch_embed1._orig_mod.proj.weight"} < set(state)
    assert list(named_tensors(state, "x")) == names
    assert load_weights(Uniformer(**TINY), state).loaded == names


def test_a_name_that_only_resembles_a_wrappers_stays():
    names = ["a_orig_mod.b", "_orig_model.c", "x.module.d"]
    assert list(named_tensors({name: torch.ones(1) for name in names}, "x")) == names


def test_two_tensors_of_one_name_are_refused():
    twice = {"_orig_mod.a.b": torch.ones(1), "a.b": torch.zeros(1), "c": torch.ones(1)}
    assert error_of(named_tensors, twice, "it") == (
        "it holds a.b twice, in the network and in its compiled form (_orig_mod)"
    )


@given(st.lists(st.sampled_from(["module", "_orig_mod"]), max_size=6))
def test_any_pile_of_wrappers_comes_off(pile):
    prefix = "".join(f"{part}." for part in pile)
    assert list(named_tensors({f"{prefix}a.b": torch.ones(1), f"{prefix}c": torch.ones(1)}, "x")) == ["a.b", "c"]


def test_training_parameters_are_read(tmp_path):
    path = saved({"a": nn.Parameter(torch.ones(2))}, tmp_path / "a.pyth")
    assert read_weights(path)["a"].tolist() == [1, 1]


def test_content_is_all_that_a_checkpoint_holds(tmp_path):
    content = {"epoch": 3, "cfg": "A: 1", "history": [{"loss": 0.5}], "best": None, "model_state": {"a": torch.ones(2)}}
    got = read_content(saved(content, tmp_path / "a.pyth"))
    assert got["model_state"].pop("a").tolist() == [1, 1]
    assert got == {**content, "model_state": {}}
    assert error_of(read_content, tmp_path / "b.pyth").endswith(
        "/b.pyth' cannot be read (No such file or directory); check the path"
    )


def test_path_objects_are_paths(tmp_path):
    saved({"a": torch.ones(2)}, tmp_path / "a.pyth")
    assert list(read_weights(tmp_path / "a.pyth")) == ["a"]


def test_no_such_file_and_a_folder(tmp_path):
    message = error_of(read_weights, tmp_path / "none.pyth")
    assert message == f"weight file '{tmp_path}/none.pyth' cannot be read (No such file or directory); check the path"
    assert (
        error_of(read_weights, tmp_path) == f"weight file '{tmp_path}' cannot be read (Is a directory); check the path"
    )


@pytest.mark.parametrize(
    ("content", "begins"),
    [
        (b"hello world\nmore\n", "'hello world'"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "'version https://git-lfs.github.com/spec/'"),
        (b"\n  <!DOCTYPE html>\n<html>", "'<!DOCTYPE html>'"),
        (b'{"a": 1}', "'{\"a\": 1}'"),
        ("Gewichte für später".encode(), "'Gewichte für später'"),
        (b"PK was here", "'PK was here'"),
    ],
)
def test_text(tmp_path, content, begins):
    (tmp_path / "a.pyth").write_bytes(content)
    message = error_of(read_weights, tmp_path / "a.pyth")
    assert (
        message == f"weight file '{tmp_path}/a.pyth' is text, not a PyTorch file (it begins {begins}); fetch it again"
    )


def test_empty_file(tmp_path):
    (tmp_path / "a.pyth").touch()
    assert (
        error_of(read_weights, tmp_path / "a.pyth")
        == f"weight file '{tmp_path}/a.pyth' is empty; fetch or write it again"
    )


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9, 0.999])
def test_truncated_at_any_place(tmp_path, zipped, part):
    whole = io.BytesIO()
    torch.save({"a": torch.ones(4000)}, whole, _use_new_zipfile_serialization=zipped)
    (tmp_path / "a.pyth").write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * part)])
    message = error_of(read_weights, tmp_path / "a.pyth")
    assert message.startswith(f"weight file '{tmp_path}/a.pyth' is ")
    assert "truncated" in message or "damaged" in message
    assert "weights_only" not in message, "nobody is told to read it unsafely"


def test_truncated_archive_says_what_to_do(tmp_path):
    path = saved({"a": torch.ones(4000)}, tmp_path / "a.pyth")
    os.truncate(path, 9000)
    assert error_of(read_weights, path) == f"weight file '{path}' is truncated or not a PyTorch file; fetch it again"


def test_a_reading_error_of_the_system_is_told_as_such(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise OSError(errno.EIO, "Input/output error")

    path = saved({"a": torch.ones(4)}, tmp_path / "a.pyth")
    monkeypatch.setattr(torch, "load", broken)
    assert error_of(read_weights, path) == f"weight file '{path}' cannot be read (Input/output error); check the path"


def test_damaged_in_the_middle(tmp_path):
    path = saved({"a": torch.ones(40)}, tmp_path / "a.pyth")
    content = bytearray((tmp_path / "a.pyth").read_bytes())
    content[70:140] = b"\xff" * 70
    (tmp_path / "a.pyth").write_bytes(content)
    assert "is damaged" in error_of(read_weights, path) or "truncated" in error_of(read_weights, path)


def test_memory_that_is_short_is_no_damage(tmp_path, monkeypatch):
    path = saved({"a": torch.ones(4)}, tmp_path / "a.pyth")
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")):

        def short(*args, error=error, **kwargs):
            raise error

        monkeypatch.setattr(torch, "load", short)
        with pytest.raises(WeightError) as caught:
            read_weights(path)
        assert str(caught.value) == f"weight file '{path}' cannot be read (it needs more memory than there is)"
        assert type(caught.value) is WeightError


# ---------------------------------------------------------------------------------------------------------- damage


def kind_of(path) -> type:
    with pytest.raises(WeightError) as error:
        read_content(path)
    assert "\n" not in str(error.value)
    return type(error.value)


def test_kinds_of_errors(tmp_path, monkeypatch):
    """Damage may be gone around, by an older file; code, a missing package and the system's word may not."""
    path = tmp_path / "a.pyth"
    for content in (b"", b"text\n", b"\x80junk", b"PK\x03\x04junk"):
        path.write_bytes(content)
        assert kind_of(path) is DamagedFile
    whole = safetensors_bytes({"a": torch.ones(400)})
    path.write_bytes(whole[:-1])
    assert kind_of(path) is DamagedFile
    path.write_bytes(whole)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert kind_of(path) is MissingPackage and not issubclass(MissingPackage, DamagedFile)
    assert kind_of(tmp_path / "none") is kind_of(tmp_path) is WeightError
    saved({"a": Fraction(1, 3)}, path)
    assert kind_of(path) is RefusedFile


def test_the_kind_stays_for_a_file_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path))
    (tmp_path / "a.pth").write_bytes(b"")
    assert kind_of(tmp_path / "a.pth") is DamagedFile
    saved({"a": Fraction(1, 3)}, tmp_path / "a.pth")
    assert kind_of(tmp_path / "a.pth") is RefusedFile


def with_digest(content: dict) -> dict:
    return {**content, DIGEST: content_digest(content)}


DIGESTED = {"epoch": 3, "model_state": {"a": torch.ones(4000)}, "history": [{"loss": 0.5}]}


def test_a_digest_is_compared_and_taken_out(tmp_path):
    got = read_content(saved(with_digest(DIGESTED), tmp_path / "a.pyth"))
    assert list(got) == list(DIGESTED)
    assert torch.equal(got["model_state"]["a"], DIGESTED["model_state"]["a"])
    assert list(read_weights(tmp_path / "a.pyth")) == ["a"]


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 4},
        {"model_state": {"a": torch.ones(4000, dtype=torch.float64)}},
        {"model_state": {"b": torch.ones(4000)}},
        {"history": []},
        {"more": None},
        {"history": [torch.Size([2]), {1, 2}]},  # what torch reads and no checkpoint is written with
    ],
)
def test_content_that_is_not_that_of_the_digest_is_damage(tmp_path, change):
    path = saved({**with_digest(DIGESTED), **change}, tmp_path / "a.pyth")
    with pytest.raises(DamagedFile) as error:
        read_content(path)
    assert str(error.value) == (
        f"weight file '{path}' is damaged (its content is not what its digest says was written); fetch it again"
    )


def test_a_content_without_end_is_damage(tmp_path):
    circle = []
    circle.append(circle)
    path = saved({**with_digest(DIGESTED), "history": circle}, tmp_path / "a.pyth")
    assert kind_of(path) is DamagedFile


@pytest.mark.parametrize("zipped", [True, False])
def test_any_bit_that_changes_is_noticed_or_changes_nothing(tmp_path, zipped):
    path = tmp_path / "a.pyth"
    saved(with_digest(DIGESTED), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    noticed = 0
    places = [*range(0, 1200, 7), *range(1200, len(whole), 499)]
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            got = read_content(path)
        except WeightError:
            noticed += 1
            continue
        got = {key: got[key] for key in DIGESTED}  # the digest's own name may have been hit, and it is no digest then
        assert content_digest(got) == content_digest(DIGESTED)
    assert noticed > len(places) / 2


def test_the_digest_of_another_program_is_its_own_affair(tmp_path):
    for digest in ("d41d8cd98f00b204e9800998ecf8427e", b"x", 3, None):
        content = {**DIGESTED, "digest": digest}
        assert read_content(saved(content, tmp_path / "a.pyth"))["digest"] == digest
    assert "digest" not in read_content(saved(DIGESTED, tmp_path / "b.pyth"))


class Trap:
    """Unpickling this would make a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("form", ["torch", "torch legacy", "pickle"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, form, protocol):
    content = {"state_dict": {"a": torch.ones(2), "b": Trap(tmp_path / "sprung")}}
    path = tmp_path / "a.pyth"
    if form == "pickle":
        path.write_bytes(pickle.dumps(content["state_dict"]["b"], protocol))
    else:
        torch.save(content, path, pickle_protocol=max(protocol, 2), _use_new_zipfile_serialization=form == "torch")
    message = error_of(read_weights, path)
    assert message.startswith(f"weight file '{path}' is ") or "holds an object that is not a tensor" in message
    assert not (tmp_path / "sprung").exists()

    with open(path, "rb") as file:  # The trap does work: this test can fail.
        (pickle.load if form == "pickle" else lambda f: torch.load(f, weights_only=False))(file)
    assert (tmp_path / "sprung").exists()


ARGUMENTS = argparse.Namespace(model="uniformer_small", lr=5e-4, drop=None, betas=(0.9, 0.999), data={"size": [224]})


@pytest.mark.parametrize("zipped", [True, False])
def test_a_training_programs_arguments_may_lie_beside_the_tensors(tmp_path, zipped):
    content = {"state_dict": {"a": torch.ones(2)}, "args": ARGUMENTS, "epoch": 299, "metric": 82.9}
    path = saved(content, tmp_path / "a.pyth", _use_new_zipfile_serialization=zipped)
    assert read_weights(path)["a"].tolist() == [1, 1]
    got = read_content(path)
    assert type(got["args"]) is argparse.Namespace
    assert (got["args"], got["epoch"]) == (ARGUMENTS, 299)


def test_what_may_be_built_is_allowed_for_the_load_alone(tmp_path):
    before = set(torch.serialization.get_safe_globals())  # a list in no order
    path = saved({"model": {"a": torch.ones(2)}, "args": ARGUMENTS}, tmp_path / "a.pyth")
    read_weights(path)
    error_of(read_weights, saved(nn.Linear(2, 2), tmp_path / "b.pyth"))
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError, match="argparse.Namespace was not an allowed global"):
        torch.load(path, weights_only=True)
    with torch.serialization.safe_globals([argparse.Namespace]):
        read_weights(path)
        assert argparse.Namespace in torch.serialization.get_safe_globals(), "the program allowed it of itself"


def test_loads_in_several_threads_do_not_take_it_from_each_other(tmp_path):
    path = saved({"model": {"a": torch.ones(2)}, "args": [ARGUMENTS] * 200}, tmp_path / "a.pyth")
    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(read_weights, [path] * 40))
    assert all(list(state) == ["a"] for state in read)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["in the arguments", "instead of a tensor", "as their state", "built of them"])
def test_code_among_a_training_programs_arguments_is_refused_and_does_not_run(tmp_path, place, zipped):
    trap = Trap(tmp_path / "sprung")
    content = {
        "in the arguments": {"state_dict": {"a": torch.ones(2)}, "args": argparse.Namespace(deep=[{"x": trap}])},
        "instead of a tensor": {"args": ARGUMENTS, "state_dict": {"a": trap}},
        "as their state": {"state_dict": {"a": torch.ones(2)}, "args": Arguments((), trap)},
        "built of them": {"state_dict": {"a": torch.ones(2)}, "args": Arguments((trap,), {})},
    }[place]
    path = saved(content, tmp_path / "a.pyth", _use_new_zipfile_serialization=zipped)
    message = error_of(read_weights, path)
    assert message.startswith(f"weight file '{path}' holds an object that is not a tensor (")
    assert not (tmp_path / "sprung").exists()

    with contextlib.suppress(TypeError):  # The trap does work: this test can fail.
        torch.load(path, weights_only=False)
    assert (tmp_path / "sprung").exists()


class Arguments:
    """Pickled as the arguments of a program with these to be built from and this state."""

    def __init__(self, args, state):
        self.pickled = argparse.Namespace, args, state

    def __reduce__(self):
        return self.pickled


def test_other_classes_beside_the_tensors_are_refused_as_ever(tmp_path):
    for other in (Fraction(1, 3), argparse.HelpFormatter, eval, SimpleNamespace(lr=1)):
        path = saved({"state_dict": {"a": torch.ones(2)}, "args": other}, tmp_path / "a.pyth")
        assert "holds an object that is not a tensor (" in error_of(read_weights, path)


def test_arguments_among_or_instead_of_tensors_are_no_weights(tmp_path):
    path = saved(ARGUMENTS, tmp_path / "a.pyth")
    assert error_of(read_weights, path) == f"weight file '{path}' holds a Namespace, not a dict of tensors by name"
    path = saved({"a": torch.ones(2), "args": ARGUMENTS}, tmp_path / "b.pyth")
    assert error_of(read_weights, path) == f"weight file '{path}' holds more than tensors: args"


def test_a_whole_module_is_refused_with_its_name_and_the_remedy(tmp_path):
    path = saved(nn.Linear(2, 2), tmp_path / "a.pyth")
    assert error_of(read_weights, path) == (
        f"weight file '{path}' holds an object that is not a tensor (torch.nn.modules.linear.Linear) and was not "
        "loaded, because building it could run code; save a plain state dict, torch.save(model.state_dict(), path)"
    )


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (
            {"epoch": 3, "lr": [0.1]},
            "holds no tensors (keys: epoch, lr); looked at the top and under model, model_state",
        ),
        ({}, "holds no tensors (keys: none)"),
        ({"model": {}}, "holds no tensors (keys: none)"),
        ({"model": {"a": 1, "b": 2, "c": 3, "d": 4}}, "holds no tensors (keys: a, b, c, ...)"),
        ({"a": torch.ones(1), "b": 3}, "holds more than tensors: b"),
        ({"a": torch.ones(1), 5: torch.ones(1)}, "holds more than tensors: 5"),
        (torch.ones(3), "holds a Tensor, not a dict of tensors by name"),
        ([torch.ones(3)], "holds a list, not a dict of tensors by name"),
    ],
)
def test_contents_without_named_tensors(tmp_path, content, wanted):
    path = saved(content, tmp_path / "a.pyth")
    assert error_of(read_weights, path).startswith(f"weight file '{path}' {wanted}")


def test_numpy_archive(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    assert error_of(read_weights, tmp_path / "a.npz").startswith(
        f"weight file '{tmp_path}/a.npz' is damaged or holds more"
    )


# ---------------------------------------------------------------------------------------------------- safetensors


def test_safetensors_file_with_any_name(tmp_path):
    state = {"a": torch.randn(2, 3), "n": torch.tensor(7), "h": torch.ones(2, dtype=torch.bfloat16)}
    for name in ("a.safetensors", "a.pyth"):
        save_file(state, tmp_path / name)
        got = read_weights(tmp_path / name)
        assert set(got) == set(state)
        assert all(torch.equal(got[n], state[n]) and got[n].dtype == state[n].dtype for n in state)
    torch.save(state, tmp_path / "b.safetensors")
    assert list(read_weights(tmp_path / "b.safetensors")) == list(state), "the content says what it is"


def test_a_network_through_a_safetensors_file(tmp_path):
    model, other = tiny().eval(), Uniformer(**TINY).eval()
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    report = load_weights(other, tmp_path / "a.safetensors")
    assert sorted(report.loaded) == sorted(model.state_dict())
    clips = clip((1, 3, 2, 32, 32))
    with torch.inference_mode():
        assert torch.equal(model(clips), other(clips))


def test_texts_in_the_header_of_safetensors_are_content_but_no_weights(tmp_path):
    state = {"module.a": torch.ones(2)}
    save_file(state, tmp_path / "plain.safetensors", metadata={"format": "pt"})
    assert list(read_content(tmp_path / "plain.safetensors")) == ["module.a"]
    save_file(state, tmp_path / "named.safetensors", metadata={"format": "pt", "class_names": '["run"]'})
    content = read_content(tmp_path / "named.safetensors")
    assert content["metadata"] == {"class_names": '["run"]'}
    assert list(content["state_dict"]) == ["module.a"]
    assert list(read_weights(tmp_path / "named.safetensors")) == ["a"]


@pytest.mark.parametrize("part", [0.03, 0.3, 0.5, 0.9, 0.999])
def test_truncated_safetensors(tmp_path, part):
    whole = safetensors_bytes({"a": torch.ones(400), "b": torch.ones(400)})
    (tmp_path / "a.safetensors").write_bytes(whole[: int(len(whole) * part)])
    message = error_of(read_weights, tmp_path / "a.safetensors")
    assert message.startswith(f"weight file '{tmp_path}/a.safetensors' is truncated or damaged (")
    assert message.endswith("); fetch it again")


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"{]",
        b'{"a": 3}',
        b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
    ],
)
def test_damaged_header_of_safetensors(tmp_path, header):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    assert "is truncated or damaged (" in error_of(read_weights, tmp_path / "a.safetensors")


def test_safetensors_without_the_package(tmp_path, monkeypatch):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert error_of(read_weights, tmp_path / "a.safetensors") == (
        f"weight file '{tmp_path}/a.safetensors' is a safetensors file, and the package that reads these is not "
        'installed: pip install "uniformer_video[safetensors]"'
    )


def test_a_safetensors_file_without_tensors(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes({}))
    assert "holds no tensors (keys: none)" in error_of(read_weights, tmp_path / "a.safetensors")


def test_what_is_safetensors():
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    assert is_safetensors(struct.pack("<Q", len(header)) + header)
    assert not is_safetensors(struct.pack("<Q", 10**9) + header), "longer than the format allows"
    assert not is_safetensors(b'{"a": {"dtype": "F32"}}')
    assert not is_safetensors(b"")
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save({"a": torch.ones(3)}, file, _use_new_zipfile_serialization=zipped)
        assert not is_safetensors(file.getvalue()[:64])


@given(st.binary(max_size=200))
def test_any_bytes_are_weights_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.pyth"
    path.write_bytes(content)
    assert str(path) in error_of(read_weights, path)


@given(st.binary(max_size=60), st.integers(0, 100))
def test_any_header_of_safetensors_is_one_line(tmp_path_factory, rest, length):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{" + rest)
    assert str(path) in error_of(read_weights, path)


@pytest.mark.parametrize("place", ["a.pth", "urls/a.pth"])
def test_a_damaged_file_in_the_cache_is_named_as_the_one_to_remove(tmp_path, monkeypatch, place):
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path / "cache"))
    inside, outside = tmp_path / "cache" / place, tmp_path / "a.pth"
    saved({"a": torch.zeros(1000)}, outside)
    whole = outside.read_bytes()
    inside.parent.mkdir(parents=True)
    for content in (b"<html>", whole[:3000], b"", b"\x80junk"):
        for path in (inside, outside):
            path.write_bytes(content)
        there, elsewhere = error_of(read_weights, inside), error_of(read_weights, outside)
        plain = elsewhere.removesuffix("; fetch it again").replace(str(outside), str(inside))
        assert there == f"{plain}; remove {inside} to have it fetched again"
        assert "remove" not in elsewhere


def test_a_package_that_is_missing_is_no_reason_to_remove_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path))
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert error_of(read_weights, tmp_path / "a.safetensors").endswith('"uniformer_video[safetensors]"')


def test_a_download_that_fails_leaves_nothing_to_remove(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path))
    assert "remove" not in error_of(read_weights, "http://[::1")


def test_the_public_names_stay_where_they_were():
    assert weights.read_content is read_content
    assert weights.read_weights is read_weights
    assert weights.named_tensors is named_tensors
