"""Class folders where names are wanting: they order a head, are refused, or say nothing."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from uniformer_video.engine.class_folders import (
    Classes,
    class_folders_in,
    names_to_compare,
    require_same_classes,
    require_same_folders,
)
from uniformer_video.models.export import write_weights
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.models.weights import read_content
from uniformer_video.runtime.errors import UserError

HERE = {0: "hop", 1: "skip_rope", 2: "leap"}
NAMES = ["hop", "skip rope", "leap"]


def compare(weights: Classes, data: Classes, purpose: str = "test"):
    return names_to_compare(weights, data, purpose=purpose, where="the training", data_where="test.csv")


class TestClasses:
    def test_names_go_before_folders(self):
        assert Classes(3, ["a", "b", "c"], HERE).told() == ["a", "b", "c"]
        assert Classes(3, None, HERE).told() == ["hop", "skip_rope", "leap"]

    @pytest.mark.parametrize(
        "folders", [None, {}, {0: "hop", 1: "leap"}, {**HERE, 3: "more"}, {1: "a", 2: "b", 3: "c"}]
    )
    def test_folders_tell_all_classes_or_none(self, folders):
        assert Classes(3, None, folders).told() is None
        assert Classes(3, None, folders).numbered() == (folders or {})


class TestNamesToCompare:
    FLIPPED = {0: "leap", 1: "Hop", 2: "skip rope"}

    @pytest.mark.parametrize("purpose", ["test", "train"])
    @pytest.mark.parametrize(
        "weights", [Classes(3, NAMES), Classes(3, None, HERE), Classes(3, NAMES, {0: "x", 1: "y"})]
    )
    @pytest.mark.parametrize("data", [Classes(3, None, FLIPPED), Classes(3, list(FLIPPED.values()))])
    def test_the_same_classes_are_compared_by_whatever_tells_them(self, purpose, weights, data):
        assert compare(weights, data, purpose) == (weights.told(), data.told())

    def test_names_on_both_sides_are_left_to_the_comparison(self):
        assert compare(Classes(3, ["a", "b", "c"]), Classes(2, ["x", "y"], {0: "b", 1: "a"})) == (
            ["a", "b", "c"],
            ["x", "y"],
        )

    @pytest.mark.parametrize(
        "data",
        [
            Classes(3),
            Classes(3, None, {0: "test_hop", 1: "test_skip", 2: "test_leap"}),
            Classes(3, None, {0: "hop", 2: "leap"}),
            Classes(3, None, {1: "leap"}),
            Classes(3, None, {0: "leap", 1: "other"}),
        ],
    )
    def test_folders_that_say_nothing(self, data):
        assert compare(Classes(3, None, HERE), data) == (None, None)
        assert compare(Classes(3, NAMES), data) == (NAMES, None)

    @pytest.mark.parametrize("weights", [Classes(3, NAMES), Classes(3, None, HERE)])
    def test_a_part_of_the_classes_with_other_labels(self, weights):
        data = Classes(3, None, {0: "leap", 1: "hop"})
        with pytest.raises(UserError) as error:
            compare(weights, data)
        assert str(error.value) == (
            "the videos in folders 'leap' have label 0 in test.csv and label 2 in the training; give both lists the "
            "same labels or, if these folders are no classes, write classes.json beside the lists"
        )
        assert compare(weights, data, "train") == (weights.names, None)  # other classes, another head

    def test_fine_tuning_on_fewer_classes(self):
        assert compare(Classes(3, None, HERE), Classes(2, None, {0: "leap", 1: "hop"}), "train") == (None, None)


class TestRequireSameFolders:
    @pytest.mark.parametrize(
        "others",
        [
            None,
            {},
            {0: "Hop", 1: "skip rope", 2: "leap"},
            {0: "hop", 2: "leap"},
            {0: "val_hop", 1: "val_leap"},
            {2: "hop"},  # a single folder of that name may be of another kind
            {2: "hop", 0: "other"},
            {2: "hop", 0: "leap", 5: "other"},  # of neither list all are in the other
        ],
    )
    def test_nothing_to_refuse(self, others):
        for one, other in ((HERE, others), (others, HERE)):
            require_same_folders(one, other, where="a", others_where="b")

    @pytest.mark.parametrize(
        "others", [{0: "hop", 1: "leap"}, {1: "hop", 2: "LEAP"}, {0: "leap", 1: "hop", 2: "skip rope"}]
    )
    def test_other_labels(self, others):
        with pytest.raises(UserError, match="give both lists the same labels or, if these folders are no classes"):
            require_same_folders(HERE, others, where="a.csv", others_where="b.csv")


class TestClassFoldersIn:
    @pytest.mark.parametrize("suffix", [".pyth", ".safetensors"])
    def test_of_an_export(self, tmp_path, suffix):
        model = Uniformer(num_classes=3, depths=(1, 0, 0, 0), widths=(8, 8, 8, 8), head_dim=8)
        write_weights(model.state_dict(), tmp_path / f"a{suffix}", class_folders=HERE)
        assert class_folders_in(read_content(tmp_path / f"a{suffix}")) == HERE
        write_weights(model.state_dict(), tmp_path / f"b{suffix}")
        assert class_folders_in(read_content(tmp_path / f"b{suffix}")) is None

    @pytest.mark.parametrize(
        "folders", [None, {}, [], "x", {0: ["x"], 1: 3}, {"0": "a", "1": "b"}, {True: "a"}, {0: torch.zeros(1)}]
    )
    def test_something_else_is_none(self, folders):
        assert class_folders_in({"class_folders": folders}) is None

    @pytest.mark.parametrize("text", ["", "[", "[1]", "3", '{"a": "b"}', '{"0": 3}', None, 5])
    def test_a_header_of_something_else(self, text):
        assert class_folders_in({"state_dict": {}, "metadata": {"class_folders": text}}) is None
        assert class_folders_in([]) is None


@pytest.mark.parametrize(
    ("names", "folders", "message"),
    [
        ((["a", "b"], ["a", "b"]), ({0: "a", 1: "b"}, {0: "b", 1: "a"}), ""),  # names say enough
        ((["a", "b"], ["b", "a"]), (None, None), "val.csv"),
        ((None, None), ({0: "a", 1: "b"}, {0: "b", 1: "a"}), "the videos in folders 'a' have label 0 in train.csv"),
        ((None, None), ({0: "a", 1: "b"}, {0: "a", 1: "b"}), ""),
    ],
)
def test_training_and_validation_list_number_their_classes_alike(names, folders, message):
    train, val = (SimpleNamespace(class_names=n, class_folders=f) for n, f in zip(names, folders, strict=True))
    with pytest.raises(UserError, match=message) if message else nullcontext():
        require_same_classes(train, val)
