from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.fill import clip, fill
from tests.models.published import KERNEL, TINY, error_of, filled_state, flattened, relative, saved, tiny
from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.uniformer import Uniformer, uniformer_base, uniformer_small
from uniformer_video.models.weights import LoadReport, load_weights
from uniformer_video.runtime.errors import UserError


def light(**kwargs) -> Hourglass:
    return Hourglass(**{**TINY, "mlp_ratio": 4, **kwargs})


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
    kernels = {name: model.state_dict()[name].shape[2] for name, tensor in image.items() if tensor.ndim == 4}
    word = "average" if mode is True else mode
    assert report.inflated == [name for name, time in kernels.items() if time > 1]
    assert report.adapted == [name for name, time in kernels.items() if time == 1], (
        "pointwise, and patches after stage 1"
    )
    assert report.loaded == [name for name in image if name not in kernels]
    assert not (report.missing or report.unexpected or report.left_out_head or report.started)
    assert (len(report.loaded), len(report.inflated), len(report.adapted)) == (106, 10, 15)
    assert report.summary() == f"the state dict: 106 tensors loaded, 10 inflated ({word}), 15 adapted"
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
    # Inflated: the stem, 18 position encodings, 7 local affinities.
    assert report.summary() == (
        "the state dict: 272 tensors loaded, 26 inflated (average), 31 adapted, "
        "head left out, it starts anew (head.weight, head.bias)"
    )


def test_image_file_into_split_keeps_frames_apart_whatever_the_network_was():
    image = flattened(tiny().state_dict())
    model = tiny(split=True).eval()
    report = load_weights(model, image, inflate="center")
    timed = [name for name in report.adapted if ".t_norm." in name or ".t_attn." in name]
    assert len(timed) == 3 * 6
    assert all(image[name].ndim == 4 for name in report.adapted if name not in timed)
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


def test_4d_kernels_fit_an_image_network_without_inflation(tmp_path):
    source, model = tiny(image=True, layer_scale=True), Uniformer(**TINY, image=True, layer_scale=True)
    flat = {n: t.squeeze(2) if t.ndim == 5 else t for n, t in source.state_dict().items()}
    assert flat["blocks1.0.gamma_1"].shape == (1, 8, 1, 1)
    path = saved({"model": flat}, tmp_path / "image.pth")
    report = load_weights(model, path)
    assert report.adapted == [name for name, tensor in flat.items() if tensor.ndim == 4]
    assert (len(report.adapted), report.inflated) == (25 + 6, [])
    assert report.summary() == f"{path}: {106 + 6} tensors loaded, 31 adapted"
    assert unchanged(model, source.state_dict())


def test_inflation_changes_nothing_for_an_image_network():
    source, model = tiny(image=True), Uniformer(**TINY, image=True)
    flat = {n: t.squeeze(2) if t.ndim == 5 else t for n, t in source.state_dict().items()}
    assert load_weights(model, flat, inflate="average").inflated == []
    assert unchanged(model, source.state_dict())


@pytest.mark.parametrize("mode", ["average", "center"])
def test_an_image_network_saved_here_is_inflated_too(mode):
    """Its kernels are (., ., 1, ., .) in the file."""
    source = tiny(image=True)
    models = [Uniformer(**TINY) for _ in range(2)]
    flat = {n: t.squeeze(2) if t.ndim == 5 else t for n, t in source.state_dict().items()}
    reports = [
        load_weights(m, state, inflate=mode) for m, state in zip(models, (source.state_dict(), flat), strict=True)
    ]
    assert unchanged(models[0], models[1].state_dict())
    assert reports[0].inflated == reports[1].inflated
    assert len(reports[0].inflated) == 10


def test_a_video_kernel_of_one_frame_is_not_inflated():
    message = error_of(load_weights, tiny(std=True), tiny().state_dict(), inflate="average")
    assert "set UNIFORMER.STD False" in message


def test_layer_scale_between_its_shapes():
    source, model = tiny(layer_scale=True), Uniformer(**TINY, layer_scale=True)
    state = snapshot(source)
    state["blocks1.0.gamma_1"] = state["blocks1.0.gamma_1"][..., 0]
    state["blocks2.0.gamma_2"] = state["blocks2.0.gamma_2"][:, :, 0]
    report = load_weights(model, state)
    assert report.adapted == ["blocks1.0.gamma_1", "blocks2.0.gamma_2"]
    assert unchanged(model, source.state_dict())


def test_layer_scale_that_an_image_file_lacks_starts_where_the_network_does():
    image = flattened(tiny().state_dict())
    model = Uniformer(**TINY, layer_scale=True, layer_scale_init=0.1)
    report = load_weights(model, image, inflate="average")
    gammas = [name for name in model.state_dict() if "gamma" in name]
    assert (report.started, report.start_value) == (gammas, pytest.approx(0.1))
    assert report.missing == []
    assert report.summary() == (
        "the state dict: 106 tensors loaded, 10 inflated (average), 15 adapted, 12 layer scales start at 0.1"
    )
    assert all(model.state_dict()[name].unique().tolist() == [pytest.approx(0.1)] for name in gammas)


def test_layer_scale_that_was_trained_already_is_kept_and_said():
    model = tiny(layer_scale=True)
    before = snapshot(model)
    report = load_weights(model, flattened(tiny().state_dict()), inflate="center")
    assert report.start_value is None
    assert report.summary().endswith("12 layer scales start at their own values")
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in report.started)


def test_layer_scale_in_some_stages_of_an_image_file():
    image = flattened(tiny(layer_scale=(False, False, True, True)).state_dict())
    model = Uniformer(**TINY, layer_scale=True)
    report = load_weights(model, image, inflate="average")
    assert [name.split(".")[0] for name in report.started] == ["blocks1"] * 2 + ["blocks2"] * 4
    assert torch.equal(model.blocks3[1].gamma_2, image["blocks3.1.gamma_2"])


def test_layer_scale_missing_in_one_block_of_a_stage_is_missing():
    image = flattened(tiny(layer_scale=True).state_dict())
    del image["blocks3.1.gamma_2"]
    message = error_of(load_weights, tiny(layer_scale=True), image, inflate="average")
    assert "1 missing (blocks3.1.gamma_2)" in message


def test_layer_scale_that_a_video_file_lacks_is_missing():
    message = error_of(load_weights, tiny(layer_scale=True), tiny().state_dict(), inflate="average")
    assert "12 missing (blocks1.0.gamma_1, " in message


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


@pytest.mark.parametrize("ones", [(), (1, 1, 1)])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_head_stored_with_trailing_ones_is_the_same_head(ones, allowed):
    source, model = tiny(), Uniformer(**TINY)
    state = snapshot(source)
    state["head.weight"] = state["head.weight"].reshape(5, 32, *ones)
    report = load_weights(model, state, allow_new_head=allowed)
    assert (report.left_out_head, report.new_head) == ([], [])
    assert report.adapted == (["head.weight"] if ones else [])
    assert unchanged(model, source.state_dict())


def test_a_head_stored_with_trailing_ones_and_other_classes_is_another_head():
    source, model = tiny(num_classes=9), Uniformer(**TINY)
    state = snapshot(source)
    state["head.weight"] = state["head.weight"].reshape(9, 32, 1, 1, 1)
    assert load_weights(model, state, allow_new_head=True).left_out_head == ["head.weight", "head.bias"]


def without(model, *prefixes: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in snapshot(model).items() if not name.startswith(prefixes)}


@pytest.mark.parametrize("inflate", [None, "average"])
def test_training_starts_from_a_backbone_with_a_new_head(inflate):
    model = Uniformer(**TINY)
    before = snapshot(model)
    backbone = without(tiny(), "head.")
    report = load_weights(model, flattened(backbone) if inflate else backbone, inflate=inflate, allow_new_head=True)
    assert (report.new_head, report.left_out_head, report.missing) == (["head.weight", "head.bias"], [], [])
    assert report.summary().endswith(", no head in the file, it starts anew (head.weight, head.bias)")
    assert torch.equal(model.head.weight, before["head.weight"])
    assert torch.equal(model.norm.weight, backbone["norm.weight"])


HOURGLASS_HEADS = ["head.weight", "head.bias", "head_cls.weight", "head_cls.bias"]


@pytest.mark.parametrize(
    ("prefixes", "new", "said"),
    [
        (("head.", "head_cls."), HOURGLASS_HEADS, "no head in the file"),
        (("head_cls.",), HOURGLASS_HEADS[2:], "no head_cls in the file"),
        (("head.",), HOURGLASS_HEADS[:2], "no head in the file"),
    ],
)
def test_an_hourglass_file_without_one_of_its_heads(prefixes, new, said):
    source, model = light(), light()
    before = snapshot(model)
    report = load_weights(model, without(source, *prefixes), allow_new_head=True)
    assert report.new_head == new
    assert report.summary().endswith(f", {said}, it starts anew ({', '.join(new)})")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, (before if name in new else source.state_dict())[name]), name


def test_one_head_of_other_classes_and_one_that_is_not_there():
    report = load_weights(light(), without(light(num_classes=9), "head_cls."), allow_new_head=True)
    assert (report.left_out_head, report.new_head) == (HOURGLASS_HEADS[:2], HOURGLASS_HEADS[2:])
    assert report.summary().endswith(
        ", head left out, it starts anew (head.weight, head.bias), "
        "no head_cls in the file, it starts anew (head_cls.weight, head_cls.bias)"
    )


def test_without_leave_for_a_new_head_a_file_without_one_is_told_to_have_none():
    model = Uniformer(**TINY)
    before = snapshot(model)
    message = error_of(load_weights, model, without(tiny(), "head."))
    assert message == (
        "the state dict does not fit this network: 2 missing (head.weight, head.bias), 0 unexpected, 0 of another "
        "shape; the file has no head, so it cannot score classes: train from it first "
        "(TRAIN.CHECKPOINT_FILE_PATH), which starts one; nothing was loaded"
    )
    assert unchanged(model, before)
    message = error_of(load_weights, light(), without(light(), "head_cls."))
    assert "2 missing (head_cls.weight, head_cls.bias)" in message
    assert "; the file has no head_cls, so it cannot score classes: " in message


@pytest.mark.parametrize("also", ["head.bias", "norm.weight", "norm_cls."])
def test_nothing_but_a_whole_head_may_be_missing(also):
    state = without(light(), "head_cls.", also)
    message = error_of(load_weights, light(), state, allow_new_head=True)
    assert f" missing ({also}" in message
    assert "head_cls.weight" not in message
    assert "has no head" not in message


HEADS = ["head.weight", "head.bias", "aux_head.weight", "aux_head.bias"]


def test_all_heads_are_left_out_together():
    source, model = tiny(num_classes=9, aux_head=True), Uniformer(**TINY, aux_head=True)
    before = snapshot(model)
    report = load_weights(model, source.state_dict(), allow_new_head=True)
    assert report.left_out_head == HEADS
    assert report.summary().endswith(f"head left out, it starts anew ({', '.join(HEADS)})")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, (before if name in HEADS else source.state_dict())[name]), name


def test_both_heads_of_an_hourglass_are_left_out_together():
    source, model = light(num_classes=9), light()
    report = load_weights(model, source.state_dict(), allow_new_head=True)
    assert report.left_out_head == ["head.weight", "head.bias", "head_cls.weight", "head_cls.bias"]
    assert torch.equal(model.norm_cls.weight, source.norm_cls.weight), "the norm before the head is no head"


def test_one_head_of_another_size_takes_the_other_with_it():
    state = {**light().state_dict(), "head_cls.weight": torch.zeros(9, 32), "head_cls.bias": torch.zeros(9)}
    report = load_weights(light(), state, allow_new_head=True)
    assert report.left_out_head == ["head.weight", "head.bias", "head_cls.weight", "head_cls.bias"]


@pytest.mark.parametrize("classes", [5, 9])
def test_a_second_head_without_a_place_is_left_out_where_a_new_head_is_allowed(classes):
    source, model = tiny(num_classes=classes, aux_head=True), Uniformer(**TINY)
    before = snapshot(model)
    message = error_of(load_weights, model, source.state_dict())
    assert "set UNIFORMER.AUX_HEAD True" in message
    assert "2 unexpected (aux_head.weight, aux_head.bias)" in message
    report = load_weights(model, source.state_dict(), allow_new_head=True)
    assert report.left_out_head == (HEADS if classes == 9 else HEADS[2:])
    assert report.unexpected == []
    what = "head left out, it starts anew (head.weight, " if classes == 9 else "second head left out (aux_head.weight, "
    assert what in report.summary()
    assert torch.equal(model.head.weight, before["head.weight"] if classes == 9 else source.head.weight)


def test_a_second_head_that_the_file_lacks_is_missing():
    message = error_of(load_weights, tiny(aux_head=True), tiny().state_dict(), allow_new_head=True)
    assert "2 missing (aux_head.weight, aux_head.bias)" in message
    assert "a second head, aux_head, is here only: set UNIFORMER.AUX_HEAD False" in message


def test_image_file_without_inflation_names_the_key():
    model = Uniformer(**TINY)
    before = snapshot(model)
    image = flattened(tiny().state_dict())
    message = error_of(load_weights, model, image)
    assert "of another shape (patch_embed1.proj.weight [8, 3, 4, 4], here [8, 3, 3, 4, 4]; " in message
    assert message.endswith(
        "; 2D weights need TRAIN.CHECKPOINT_INFLATE average or center, or an image network (UNIFORMER.IMAGE True); "
        "nothing was loaded"
    )
    assert message.count("UNIFORMER.") == 1
    assert unchanged(model, before)


def test_another_local_kernel_names_both_and_the_key():
    model = Uniformer(**TINY)
    before = snapshot(model)
    message = error_of(load_weights, model, tiny(**KERNEL).state_dict())
    assert (
        "0 missing, 0 unexpected, 3 of another shape (blocks1.0.attn.weight [8, 1, 5, 5, 5], here [8, 1, 3, 5, 5]"
        in message
    )
    assert message.endswith(
        "; the local kernel is 5x5x5 in the file and 3x5x5 here: set UNIFORMER.LOCAL_KERNEL [5, 5, 5]; "
        "nothing was loaded"
    )
    assert unchanged(model, before)


@pytest.mark.parametrize("inflate", [None, "average"])
def test_image_kernel_of_another_size_names_both_and_the_key(inflate):
    image = flattened(tiny().state_dict())
    message = error_of(load_weights, tiny(local_kernel=(3, 7, 7)), image, inflate=inflate)
    assert "the local kernel is 5x5 in the file and 3x7x7 here: set UNIFORMER.LOCAL_KERNEL [3, 5, 5]" in message
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
        "the stages have [5, 8, 20, 7] blocks in the file and [3, 4, 8, 3] here: set UNIFORMER.DEPTH [5, 8, 20, 7]; "
        "nothing was loaded"
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


HEAD_OF_MESSAGE = "the state dict does not fit this network: "


@pytest.mark.parametrize(
    ("own", "file", "message"),
    [
        (
            {},
            {"split": True},
            "0 missing, 18 unexpected (blocks3.0.t_norm.weight, blocks3.0.t_norm.bias, blocks3.0.t_attn.qkv.weight, "
            "...), 0 of another shape; temporal attention is in the file only: set UNIFORMER.SPLIT True",
        ),
        (
            {"split": True},
            {},
            "18 missing (blocks3.0.t_norm.weight, blocks3.0.t_norm.bias, blocks3.0.t_attn.qkv.weight, ...), 0 "
            "unexpected, 0 of another shape; temporal attention is here only: set UNIFORMER.SPLIT False",
        ),
        (
            {"std": True},
            {},
            "0 missing, 0 unexpected, 3 of another shape (patch_embed2.proj.weight [16, 8, 1, 2, 2], here "
            "[16, 8, 3, 2, 2]; patch_embed3.proj.weight [24, 16, 1, 2, 2], here [24, 16, 3, 2, 2]; "
            "patch_embed4.proj.weight [32, 24, 1, 2, 2], here [32, 24, 3, 2, 2]); strided convolutions see one frame "
            "in the file and three frames here: set UNIFORMER.STD False",
        ),
        (
            {},
            {"widths": (8, 16, 32, 40)},
            "0 missing, 0 unexpected, 55 of another shape (patch_embed3.norm.weight [32], here [24]; "
            "patch_embed3.norm.bias [32], here [24]; patch_embed3.proj.weight [32, 16, 1, 2, 2], here "
            "[24, 16, 1, 2, 2], ...); the first tensor of another width is patch_embed3.norm.weight, [32] in the file "
            "and [24] here: set UNIFORMER.EMBED_DIM [8, 16, 32, 40]",
        ),
        (
            {},
            {"mlp_ratio": 3},
            "0 missing, 0 unexpected, 18 of another shape (blocks1.0.mlp.fc1.weight [24, 8, 1, 1, 1], here "
            "[32, 8, 1, 1, 1]; blocks1.0.mlp.fc1.bias [24], here [32]; blocks1.0.mlp.fc2.weight [8, 24, 1, 1, 1], here "
            "[8, 32, 1, 1, 1], ...); the MLPs are 3 times as wide as their stage in the file and 4 times here: "
            "set UNIFORMER.MLP_RATIO 3",
        ),
        (
            {"mlp_ratio": (4, 4, 4, 2)},
            {"mlp_ratio": (4, 4, 2.5, 2)},
            "0 missing, 0 unexpected, 6 of another shape (blocks3.0.mlp.fc1.weight [60, 24], here [96, 24]; "
            "blocks3.0.mlp.fc1.bias [60], here [96]; blocks3.0.mlp.fc2.weight [24, 60], here [24, 96], ...); the MLPs "
            "are [4, 4, 2.5, 2] times as wide as their stage in the file and [4, 4, 4, 2] times here: "
            "set UNIFORMER.MLP_RATIO [4, 4, 2.5, 2]",
        ),
        (
            {},
            {"layer_scale": (False, False, True, True)},
            "0 missing, 6 unexpected (blocks3.0.gamma_1, blocks3.0.gamma_2, blocks3.1.gamma_1, ...), 0 of another "
            "shape; layer scale is in stages 3, 4 in the file and in no stage here: "
            "set UNIFORMER.LAYER_SCALE [False, False, True, True]",
        ),
        (
            {"layer_scale": True},
            {},
            "12 missing (blocks1.0.gamma_1, blocks1.0.gamma_2, blocks2.0.gamma_1, ...), 0 unexpected, 0 of another "
            "shape; layer scale is in no stage in the file and in all stages here: set UNIFORMER.LAYER_SCALE False",
        ),
        (
            {},
            {"conv_stem": True},
            "16 missing (patch_embed1.norm.weight, patch_embed1.norm.bias, patch_embed1.proj.weight, ...), 35 "
            "unexpected (patch_embed1.proj.0.weight, patch_embed1.proj.0.bias, patch_embed1.proj.1.weight, ...), 0 of "
            "another shape; the convolutional stem is in the file only: set UNIFORMER.CONV_STEM True",
        ),
        (
            {"conv_stem": True},
            {},
            "30 missing (patch_embed1.proj.0.weight, patch_embed1.proj.0.bias, patch_embed1.proj.1.weight, ...), 16 "
            "unexpected (patch_embed1.norm.weight, patch_embed1.norm.bias, patch_embed1.proj.weight, ...), 0 of "
            "another shape; the convolutional stem is here only: set UNIFORMER.CONV_STEM False",
        ),
        (
            {},
            {"aux_head": True},
            "0 missing, 2 unexpected (aux_head.weight, aux_head.bias), 0 of another shape; a second head, aux_head, is "
            "in the file only: set UNIFORMER.AUX_HEAD True",
        ),
        (
            {},
            {"mlp_ratio": 10 / 3},
            "0 missing, 0 unexpected, 18 of another shape (blocks1.0.mlp.fc1.weight [26, 8, 1, 1, 1], here "
            "[32, 8, 1, 1, 1]; blocks1.0.mlp.fc1.bias [26], here [32]; blocks1.0.mlp.fc2.weight [8, 26, 1, 1, 1], here "
            "[8, 32, 1, 1, 1], ...); the MLPs are 3.34 times as wide as their stage in the file and 4 times here: "
            "set UNIFORMER.MLP_RATIO 3.34",
        ),
        (
            {},
            {"qkv_bias": False},
            "3 missing (blocks3.0.attn.qkv.bias, blocks3.1.attn.qkv.bias, blocks4.0.attn.qkv.bias), 0 unexpected, 0 of "
            "another shape; attention's qkv has a bias here only: set UNIFORMER.QKV_BIAS False",
        ),
        (
            {"qkv_bias": False},
            {},
            "0 missing, 3 unexpected (blocks3.0.attn.qkv.bias, blocks3.1.attn.qkv.bias, blocks4.0.attn.qkv.bias), 0 of "
            "another shape; attention's qkv has a bias in the file only: set UNIFORMER.QKV_BIAS True",
        ),
        (
            {"image": True},
            {},
            "0 missing, 0 unexpected, 10 of another shape (patch_embed1.proj.weight [8, 3, 3, 4, 4], here "
            "[8, 3, 1, 4, 4]; blocks1.0.pos_embed.weight [8, 1, 3, 3, 3], here [8, 1, 1, 3, 3]; "
            "blocks1.0.attn.weight [8, 1, 3, 5, 5], here [8, 1, 1, 5, 5], ...); its kernels have a temporal extent, it "
            "is of a video network: set UNIFORMER.IMAGE False",
        ),
        (
            {},
            {"image": True},
            "0 missing, 0 unexpected, 10 of another shape (patch_embed1.proj.weight [8, 3, 1, 4, 4], here "
            "[8, 3, 3, 4, 4]; blocks1.0.pos_embed.weight [8, 1, 1, 3, 3], here [8, 1, 3, 3, 3]; "
            "blocks1.0.attn.weight [8, 1, 1, 5, 5], here [8, 1, 3, 5, 5], ...); 2D weights need "
            "TRAIN.CHECKPOINT_INFLATE average or center, or an image network (UNIFORMER.IMAGE True)",
        ),
    ],
)
def test_each_cause_is_named_with_the_value_to_set(own, file, message):
    model = tiny(**own)
    before = snapshot(model)
    got = error_of(load_weights, model, tiny(**file).state_dict())
    assert got == f"{HEAD_OF_MESSAGE}{message}; nothing was loaded"
    assert unchanged(model, before)


@pytest.mark.parametrize(
    ("own", "file", "advice"),
    [
        (
            lambda: Uniformer(**TINY),
            light,
            "the file has a class token, it is of another network: set MODEL.MODEL_NAME Uniformer_light",
        ),
        (
            lambda: Uniformer(**TINY),
            lambda: light(layer_scale=True),
            "the file has a class token, it is of another network: set MODEL.MODEL_NAME Uniformer_light_ls_fp32",
        ),
        (
            light,
            lambda: Uniformer(**TINY),
            "the file has no class token, it is of another network: set MODEL.MODEL_NAME Uniformer",
        ),
        (
            light,
            lambda: light(layer_scale=True),
            "layer scale is in all stages in the file and in no stage here: "
            "set MODEL.MODEL_NAME Uniformer_light_ls_fp32 and UNIFORMER.LAYER_SCALE True",
        ),
        (
            lambda: light(layer_scale=True),
            light,
            "layer scale is in no stage in the file and in all stages here: "
            "set MODEL.MODEL_NAME Uniformer_light and UNIFORMER.LAYER_SCALE False",
        ),
        (
            light,
            lambda: light(layer_scale=(False, False, True, True)),
            "layer scale is in stages 3, 4 in the file and in no stage here: "
            "set MODEL.MODEL_NAME Uniformer_light and UNIFORMER.LAYER_SCALE [False, False, True, True]",
        ),
        (
            lambda: light(layer_scale=True),
            lambda: light(layer_scale=(False, False, True, True)),
            "layer scale is in stages 3, 4 in the file and in all stages here: "
            "set MODEL.MODEL_NAME Uniformer_light and UNIFORMER.LAYER_SCALE [False, False, True, True]",
        ),
        (
            lambda: Uniformer(**TINY),
            lambda: light(layer_scale=(False, False, True, True)),
            "the file has a class token, it is of another network: "
            "set MODEL.MODEL_NAME Uniformer_light and UNIFORMER.LAYER_SCALE [False, False, True, True]",
        ),
        (
            light,
            lambda: light(widths=(12, 16, 24, 32)),
            "the first tensor of another width is patch_embed1.proj.0.weight, [6, 3, 3, 3, 3] in the file and "
            "[4, 3, 3, 3, 3] here: set UNIFORMER.EMBED_DIM [12, 16, 24, 32]",
        ),
    ],
)
def test_the_other_kind_of_network(own, file, advice):
    got = error_of(load_weights, own(), file().state_dict())
    assert got.split("), ")[-1].split("; ", 1)[-1].endswith(f"{advice}; nothing was loaded")


def test_what_an_image_file_may_lack_is_no_cause():
    for options in ({"layer_scale": True}, {"split": True}):
        message = error_of(load_weights, tiny(**options), tiny(image=True).state_dict())
        assert message.endswith("or an image network (UNIFORMER.IMAGE True); nothing was loaded")
        assert message.count("; ") == 4, "between three shapes, before the advice and at the end"


def test_a_wrong_value_and_its_consequences_are_three_hints_at_most():
    options = {"widths": (8, 16, 24, 40), "depths": (2, 2, 2, 1), "mlp_ratio": 2, "split": True, "num_classes": 9}
    message = error_of(load_weights, tiny(local_kernel=(5, 5, 5)), tiny(**options).state_dict())
    assert message.count(": set ") == 3
    assert [message.index(key) for key in ("UNIFORMER.DEPTH", "UNIFORMER.EMBED_DIM", "UNIFORMER.LOCAL_KERNEL")]


@pytest.mark.parametrize("make", [tiny, light])
@pytest.mark.parametrize("count", [20, 30, 60])
@pytest.mark.parametrize("allowed", [False, True])
def test_the_beginning_of_a_file_is_incomplete(make, count, allowed):
    whole, model = snapshot(make()), make()
    before = snapshot(model)
    message = error_of(load_weights, model, dict(list(whole.items())[:count]), allow_new_head=allowed)
    assert "; the file is incomplete, it has no block of stage" in message
    assert message.count("UNIFORMER.") == message.count("MODEL.") == message.count("has no head") == 0
    assert message.endswith(": fetch or write it again; nothing was loaded")
    assert unchanged(model, before)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("blocks2.0.", "its blocks2.0 has no attn.bias, which other blocks have"),
        ("blocks3.1.mlp.", "its blocks3.1 has no mlp.fc1.bias, which other blocks have"),
        ("blocks4.", "it has no block of stage 4"),
    ],
)
def test_a_file_with_a_hole_is_incomplete(gone, said):
    message = error_of(load_weights, tiny(), without(tiny(), gone))
    assert f"; the file is incomplete, {said}: fetch or write it again; nothing was loaded" in message
    assert "UNIFORMER." not in message


def test_a_file_whose_last_block_was_cut_is_not_told_to_be_deeper():
    message = error_of(load_weights, tiny(), without(tiny(depths=(1, 2, 3, 1)), "blocks3.2.norm2.weight"))
    assert "; the file is incomplete, its blocks3.2 has no norm2.weight, which other blocks have" in message
    assert "UNIFORMER.DEPTH" not in message


def test_the_end_of_a_file_is_incomplete():
    tensors = list(tiny().state_dict().items())
    message = error_of(load_weights, tiny(), dict(tensors[-40:]))
    assert "; the file is incomplete, it has no block of stages 1, 2: fetch or write it again; " in message


@pytest.mark.parametrize("name", ["blocks1.0.", "blocks1.0.a\tb", f"blocks1.{'9' * 5000}.norm1.weight", "blocks1.٣.a"])
def test_strange_names_of_blocks_are_unexpected(name):
    state = {**snapshot(tiny(depths=(2, 2, 2, 1))), name: torch.ones(1)}
    assert " unexpected (blocks1." in error_of(load_weights, tiny(), state)
    assert ", 1 unexpected (blocks1." in error_of(load_weights, tiny(depths=(2, 2, 2, 1)), state)


def test_a_file_error_names_the_file(tmp_path):
    path = saved(tiny(depths=(2, 2, 2, 1)).state_dict(), tmp_path / "two.pyth")
    assert error_of(load_weights, tiny(), path).startswith(f"weight file '{path}' does not fit this network: 0 missing")


def test_tensors_given_by_name_are_said_to_be_of_their_file():
    state = tiny().state_dict()
    report = load_weights(Uniformer(**TINY), state, origin="a/b.pyth")
    assert report.path == "a/b.pyth"
    assert report.summary() == f"a/b.pyth: {len(state)} tensors loaded"
    del state["norm.weight"]
    message = error_of(load_weights, tiny(), state, origin="a/b.pyth")
    assert message.startswith("weight file 'a/b.pyth' does not fit this network: 1 missing (norm.weight)")


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
