from __future__ import annotations

import errno
import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from tests.fill import clip, fill
from tests.models.published import KERNEL, TINY, filled_state, relative, tiny
from uniformer_video.models.uniformer import Uniformer, uniformer_base, uniformer_small
from uniformer_video.models.weights import LoadReport, load_weights, named_tensors, read_content, read_weights
from uniformer_video.runtime.errors import UserError, WeightError


def error_of(call, *args, **kwargs) -> str:
    with pytest.raises(WeightError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def saved(content, path, **kwargs) -> str:
    torch.save(content, path, **kwargs)
    return str(path)


def flattened(state):
    """What an image network would hold: the temporal extents summed away."""
    return {n: t.sum(2) if t.ndim == 5 else t for n, t in state.items()}


# ---------------------------------------------------------------------------------------------------- read_weights


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


# ---------------------------------------------------------------------------------------------------- load_weights


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_same_network_from_a_file(tmp_path):
    source, model = tiny(), Uniformer(**TINY)
    path = saved({"model_state": source.state_dict()}, tmp_path / "a.pyth")
    report = load_weights(model, path)
    assert unchanged(model, source.state_dict())
    assert report == LoadReport(path, loaded=list(source.state_dict()))
    assert report.summary() == f"{path}: {len(source.state_dict())} tensors loaded"


def test_what_is_loaded_is_a_copy():
    state = snapshot(tiny())
    model = Uniformer(**TINY)
    load_weights(model, state)
    nn.init.zeros_(model.head.weight)
    assert state["head.weight"].any()


def test_half_precision_files_fill_a_float_network():
    state = {n: t.half() if t.is_floating_point() else t for n, t in tiny().state_dict().items()}
    model = Uniformer(**TINY)
    load_weights(model, state)
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, state["head.weight"].float())


def test_counters_may_be_absent():
    state = {n: t for n, t in tiny().state_dict().items() if not n.endswith("num_batches_tracked")}
    model = Uniformer(**TINY)
    model.norm.num_batches_tracked += 3
    report = load_weights(model, state)
    assert report == LoadReport("the state dict", loaded=list(state))
    assert model.norm.num_batches_tracked == 3


def test_trailing_ones_are_adapted():
    source, model = tiny(), Uniformer(**TINY)
    state = snapshot(source)
    name = "blocks1.0.mlp.fc1.weight"
    state[name] = state[name].flatten(1)
    report = load_weights(model, state)
    assert report.adapted == [name]
    assert unchanged(model, source.state_dict())
    assert report.summary() == f"the state dict: {len(state) - 1} tensors loaded, 1 adapted"


@pytest.mark.parametrize("mode", ["average", "center", True])
def test_inflation_and_its_report(mode):
    image = flattened(tiny().state_dict())
    model = Uniformer(**TINY)
    report = load_weights(model, image, inflate=mode)
    volumes = [name for name, tensor in image.items() if tensor.ndim == 4]
    word = "average" if mode is True else mode
    assert report.inflated == volumes
    assert report.loaded == [name for name in image if name not in volumes]
    assert not (report.missing or report.unexpected or report.adapted or report.left_out_head)
    assert report.summary() == f"the state dict: {len(report.loaded)} tensors loaded, {len(volumes)} inflated ({word})"
    own, wanted = model.state_dict()["patch_embed1.proj.weight"], image["patch_embed1.proj.weight"]
    torch.testing.assert_close(own.sum(2), wanted)
    torch.testing.assert_close(own[:, :, 1], wanted if mode == "center" else wanted / 3)


def test_inflation_of_a_file_that_is_3d_already_changes_nothing():
    source, model = tiny(), Uniformer(**TINY)
    report = load_weights(model, source.state_dict(), inflate="average")
    assert report.inflated == []
    assert "inflated" not in report.summary()
    assert unchanged(model, source.state_dict())


def test_published_image_file_report():
    report = load_weights(
        uniformer_small(**KERNEL), filled_state("image_small"), inflate="average", allow_new_head=True
    )
    assert (len(report.loaded), len(report.inflated)) == (272, 57)
    assert report.summary() == (
        "the state dict: 272 tensors loaded, 57 inflated (average), "
        "head left out, it starts anew (head.weight, head.bias)"
    )


def test_image_file_into_split_keeps_frames_apart_whatever_the_network_was():
    image = flattened(tiny().state_dict())
    model = tiny(split=True).eval()
    report = load_weights(model, image, inflate="center")
    assert len(report.adapted) == 3 * 6
    assert all(".t_norm." in name or ".t_attn." in name for name in report.adapted)
    assert report.missing == []
    joint = Uniformer(**TINY).eval()
    load_weights(joint, image, inflate="center")
    one_frame = clip((1, 3, 1, 64, 64))
    assert relative(model(one_frame.expand(-1, -1, 4, -1, -1)), joint(one_frame)) < 1e-5


def test_unknown_inflation():
    with pytest.raises(
        UserError, match=r"unknown inflation 'middle' \(TRAIN.CHECKPOINT_INFLATE\); known: average, center"
    ):
        load_weights(tiny(), {"a": torch.ones(1)}, inflate="middle")


def test_another_head_is_left_out_only_when_allowed():
    source, model = tiny(num_classes=9), Uniformer(**TINY)
    before = snapshot(model)
    message = error_of(load_weights, model, source.state_dict())
    assert message == (
        "the state dict does not fit this network: 0 missing, 0 unexpected, 2 of another shape "
        "(head.weight [9, 32], here [5, 32]; head.bias [9], here [5]); "
        "the head has 9 classes in the file and 5 in MODEL.NUM_CLASSES; nothing was loaded"
    )
    assert unchanged(model, before)

    report = load_weights(model, source.state_dict(), allow_new_head=True)
    assert report.left_out_head == ["head.weight", "head.bias"]
    assert "head left out, it starts anew (head.weight, head.bias)" in report.summary()
    after = model.state_dict()
    for name, tensor in source.state_dict().items():
        assert torch.equal(after[name], before[name] if name.startswith("head.") else tensor), name


def test_a_head_of_the_same_size_is_loaded_also_when_a_new_one_is_allowed():
    source, model = tiny(), Uniformer(**TINY)
    assert load_weights(model, source.state_dict(), allow_new_head=True).left_out_head == []
    assert torch.equal(model.head.weight, source.head.weight)


def test_a_missing_head_is_missing_also_when_a_new_one_is_allowed():
    state = {n: t for n, t in tiny().state_dict().items() if not n.startswith("head.")}
    assert "2 missing (head.weight, head.bias)" in error_of(load_weights, tiny(), state, allow_new_head=True)


def test_image_file_without_inflation_names_the_key():
    model = Uniformer(**TINY)
    before = snapshot(model)
    image = flattened(tiny().state_dict())
    message = error_of(load_weights, model, image)
    assert "of another shape (patch_embed1.proj.weight [8, 3, 4, 4], here [8, 3, 3, 4, 4]; " in message
    assert message.endswith("; 2D weights need TRAIN.CHECKPOINT_INFLATE average or center; nothing was loaded")
    assert "UNIFORMER." not in message
    assert unchanged(model, before)


def test_another_local_kernel_names_both_and_the_key():
    model = Uniformer(**TINY)
    before = snapshot(model)
    message = error_of(load_weights, model, tiny(**KERNEL).state_dict())
    assert (
        "0 missing, 0 unexpected, 3 of another shape (blocks1.0.attn.weight [8, 1, 5, 5, 5], here [8, 1, 3, 5, 5]"
        in message
    )
    assert "the local kernel is 5x5x5 in the file and 3x5x5 here, see UNIFORMER.LOCAL_KERNEL; nothing" in message
    assert unchanged(model, before)


@pytest.mark.parametrize("inflate", [None, "average"])
def test_image_kernel_of_another_size_names_both_and_the_key(inflate):
    image = flattened(tiny().state_dict())
    message = error_of(load_weights, tiny(local_kernel=(3, 7, 7)), image, inflate=inflate)
    assert "the local kernel is 5x5 in the file and 3x7x7 here, see UNIFORMER.LOCAL_KERNEL" in message
    assert ("TRAIN.CHECKPOINT_INFLATE" in message) == (inflate is None)


def test_inflation_of_the_published_kernel_into_ours_is_fine():
    image = flattened(tiny(**KERNEL).state_dict())
    model = Uniformer(**TINY)
    load_weights(model, image, inflate="average")
    assert model.blocks1[0].attn.weight.shape == (8, 1, 3, 5, 5)


def test_another_network_names_counts_and_first_names():
    model = uniformer_small()
    before = snapshot(model)
    with torch.device("meta"):
        base = uniformer_base()
    message = error_of(load_weights, model, base.state_dict())
    assert message == (
        "the state dict does not fit this network: 0 missing, 356 unexpected (blocks1.3.pos_embed.weight, "
        "blocks1.3.pos_embed.bias, blocks1.3.norm1.weight, ...), 0 of another shape; "
        "blocks are on one side only, see UNIFORMER.DEPTH; nothing was loaded"
    )
    assert unchanged(model, before)
    message = error_of(load_weights, base, model.state_dict())
    assert (
        "344 missing (blocks1.3.pos_embed.weight, blocks1.3.pos_embed.bias, blocks1.3.norm1.weight, ...), 0 unex"
        in message
    )


def test_random_dict():
    message = error_of(load_weights, tiny(), {"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(2)})
    names = [n for n in tiny().state_dict() if "num_batches" not in n]
    assert message == (
        f"the state dict does not fit this network: {len(names)} missing ({', '.join(names[:3])}, ...), "
        "2 unexpected (fc.weight, fc.bias), 0 of another shape; "
        "nothing in it fits, it is of another kind of network; nothing was loaded"
    )


def test_split_and_std_are_named():
    assert "see UNIFORMER.SPLIT" in error_of(load_weights, tiny(), tiny(split=True).state_dict())
    assert "see UNIFORMER.SPLIT" in error_of(load_weights, tiny(split=True), tiny().state_dict())
    assert "UNIFORMER.DEPTH" not in error_of(load_weights, tiny(split=True), tiny().state_dict())
    assert "see UNIFORMER.STD" in error_of(load_weights, tiny(std=True), tiny().state_dict())


def test_a_file_error_names_the_file(tmp_path):
    path = saved(tiny(depths=(2, 2, 2, 1)).state_dict(), tmp_path / "two.pyth")
    assert error_of(load_weights, tiny(), path).startswith(f"weight file '{path}' does not fit this network: 0 missing")


def test_an_error_late_in_the_file_still_leaves_the_network_untouched():
    model = Uniformer(**TINY)
    before = snapshot(model)
    state = fill(model.state_dict())
    state["head.bias"] = torch.ones(6)
    error_of(load_weights, model, state)
    assert unchanged(model, before)


def test_loading_draws_nothing_random():
    image, model = flattened(tiny().state_dict()), tiny(split=True)
    before = torch.get_rng_state()
    load_weights(model, image, inflate="center")
    assert torch.equal(torch.get_rng_state(), before)
