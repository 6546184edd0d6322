"""Weights meet data: every output is the data's class of that number, or the run says why not."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.toy import same_bits
from uniformer_video.datasets.label_sets import LABEL_SETS
from uniformer_video.engine.checkpoint import Checkpoint, save_checkpoint
from uniformer_video.engine.class_order import (
    NEW_HEAD,
    ClassOrder,
    apply_class_order,
    class_names_of,
    plan_class_order,
    require_same_order,
)
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.models.weights import load_weights, read_content, read_weights
from uniformer_video.runtime.errors import UserError, WeightError

K400, K600 = list(LABEL_SETS["kinetics400"]), list(LABEL_SETS["kinetics600"])
ALPHABETICAL = sorted(K400)


def plan(weights, data, purpose="test", **more) -> ClassOrder:
    count = len(data) if data is not None else len(weights or K400)
    return plan_class_order(weights, data, num_classes=count, purpose=purpose, **more)


def refusal(weights, data, purpose="test", **more) -> str:
    with pytest.raises(WeightError) as error:
        plan(weights, data, purpose, **more)
    return str(error.value)


def state_of(classes: int) -> dict[str, torch.Tensor]:
    return {"norm.weight": torch.ones(2), "head.weight": torch.randn(classes, 2), "head.bias": torch.randn(classes)}


class TestTheSameOrder:
    @pytest.mark.parametrize("purpose", ["test", "train"])
    @pytest.mark.parametrize("data", [K400, [name.replace(" ", "_").upper() for name in K400], tuple(K400)])
    def test_kinetics_stays(self, purpose, data):
        line = "class order: the weights and the data agree (Kinetics-400 in the published order)"
        assert plan(K400, data, purpose) == ClassOrder(None, line)

    def test_own_classes_stay(self):
        assert plan(["a", "b"], ["A ", "b"]) == ClassOrder(
            None, "class order: the weights and the data agree (2 classes)"
        )

    def test_names_that_two_classes_share_agree_where_they_stand_alike(self):
        assert plan(["a", "a", "b"], ["a", "a", "b"]).rows is None


class TestAnotherOrder:
    @pytest.mark.parametrize("purpose", ["test", "train"])
    def test_alphabetical_kinetics_400(self, purpose):
        found = plan(K400, [name.replace(" ", "_") for name in ALPHABETICAL], purpose)
        assert found.line == (
            "class order: the weights have Kinetics-400 in the published order, the data in alphabetical order: head "
            "remapped by name (400 classes)"
        )
        assert [K400[row] for row in found.rows] == ALPHABETICAL

    def test_alphabetical_kinetics_600(self):
        found = plan(K600, sorted(K600))
        assert [K600[row] for row in found.rows] == sorted(K600)
        assert "Kinetics-600 in the published order, the data in alphabetical order" in found.line

    def test_alphabetical_weights_and_published_data(self):
        found = plan(ALPHABETICAL, K400)
        assert [ALPHABETICAL[row] for row in found.rows] == K400
        assert "have Kinetics-400 in alphabetical order, the data in the published order: head remapped" in found.line

    def test_own_classes(self):
        found = plan(["run", "jump", "throw"], ["throw", "run", "Jump"], "train")
        line = "the weights and the data have the same classes in different orders: head remapped by name (3 classes)"
        assert found == ClassOrder((2, 0, 1), f"class order: {line}")

    @pytest.mark.parametrize("purpose", ["test", "train"])
    def test_both_versions_of_something_have_one_set_of_classes(self, purpose):
        one, two = LABEL_SETS["ssv1"], LABEL_SETS["ssv2"]
        found = plan(one, two, purpose)
        assert found.line == (
            "class order: the weights have Something-Something V1 in the published order, the data Something-Something "
            "V2 in the published order: head remapped by name (174 classes)"
        )
        assert one[found.rows[32]] == "Moving part of something", "where V2 has: Moving [part] of [something]"

    @given(st.permutations(range(9)), st.sampled_from(["test", "train"]))
    def test_any_permutation(self, permutation, purpose):
        names = [f"class {n}" for n in "abcdefghi"]
        data = [names[n].replace(" ", "_") for n in permutation]
        rows = plan(names, data, purpose).rows
        assert (rows or tuple(range(9))) == tuple(permutation)


class TestFewerClasses:
    def test_a_test_takes_the_rows_it_needs(self):
        data = ALPHABETICAL[::2]
        found = plan(K400, data)
        assert [K400[row] for row in found.rows] == data
        assert found.line == (
            "class order: the data have 200 of the weights' 400 classes (Kinetics-400 in the published order): head "
            "reduced to them by name"
        )

    def test_of_own_classes(self):
        found = plan(["a", "b", "c"], ["c", "a"])
        assert found == ClassOrder(
            (2, 0), "class order: the data have 2 of the weights' 3 classes: head reduced to them by name"
        )

    def test_training_begins_a_new_head(self):
        line = "class order: the head starts anew, the data have only 2 of the weights' 3 classes"
        assert plan(["a", "b", "c"], ["c", "a"], "train") == ClassOrder(NEW_HEAD, line)


class TestOtherClasses:
    def test_training_begins_a_new_head_of_the_same_size(self):
        data = [*K400[:7], "one", *K400[8:-1], "two"]
        assert plan(K400, data, "train") == ClassOrder(
            NEW_HEAD,
            "class order: the head starts anew, 398 of the data's 400 classes are among the weights' 400; the first "
            "that is not is class 7, 'one' (it is 'clapping' in the weights)",
        )

    def test_training_on_more_classes(self):
        assert plan(["a"], ["a", "b"], "train").line == (
            "class order: the head starts anew, 1 of the data's 2 classes are among the weights' 1; the first that is "
            "not is class 1, 'b'"
        )

    def test_kinetics_400_to_600(self):
        assert plan(K400, K600, "train").line == (
            "class order: the head starts anew, 369 of the data's 600 classes are among the weights' 400; the first "
            "that is not is class 1, 'poking bellybutton' (it is 'marching' in the weights)"
        )

    def test_a_test_is_refused(self):
        assert refusal(["a", "b"], ["a", "c"], where="weight file 'w.pth'", data_where="the list test.csv") == (
            "class 1 of the list test.csv, 'c', is not among the 2 classes of weight file 'w.pth' (there class 1 is "
            "'b'); 1 of the data's 2 are; test with weights trained on these classes, correct the data's class names, "
            "or fine-tune first (TRAIN.CHECKPOINT_FILE_PATH)"
        )

    def test_a_test_on_more_classes_is_refused(self):
        text = refusal(["a", "b"], ["a", "b", "c"])
        assert text.startswith("class 2 of the data, 'c', is not among the 2 classes of the weight file; 2 of the data")

    def test_kinetics_400_on_600_is_refused(self):
        assert "'poking bellybutton', is not among the 400 classes" in refusal(K400, K600)

    @given(st.permutations(range(400)), st.integers(0, 399))
    def test_one_class_of_kinetics_exchanged(self, permutation, number):
        data = [K400[n] for n in permutation]
        data[number] = "no class of Kinetics"
        assert refusal(K400, data).startswith(f"class {number} of the data, 'no class of Kinetics', is not among")
        assert plan(K400, data, "train").rows == NEW_HEAD


class TestSharedNames:
    def test_names_that_punctuation_alone_tells_apart_are_taken_to_the_letter(self):
        weights, data = ["go (up)", "go up", "stop"], ["go up", "stop", "go (up)"]
        assert plan(weights, data).rows == (1, 2, 0)
        assert plan(weights, weights).rows is None

    def test_to_the_letter_on_both_sides(self):
        # "go_up" may be either of the two.
        text = refusal(["go (up)", "go up", "stop"], ["go_up", "stop", "go (up)"])
        assert text.startswith("class 0 of the data, 'go_up', is not among the 3 classes of the weight file")

    @pytest.mark.parametrize("purpose", ["test", "train"])
    def test_one_name_for_two_classes_is_refused(self, purpose):
        expected = "the class order cannot be told: two classes of {} are called 'a'; give each class a name of its own"
        assert refusal(["a", "a", "b"], ["b", "a", "a"], purpose, where="the file") == expected.format("the file")
        assert refusal(["a", "c", "b"], ["c", "a", "a"]) == expected.format("the data")

    def test_what_the_data_do_not_name_does_not_count(self):
        assert plan(["a", "a", "b", "c"], ["c", "b"]).rows == (3, 2)

    def test_a_new_head_needs_no_names(self):
        assert plan(["x", "y", "z"], ["a", "a", "b"], "train").rows == NEW_HEAD


class TestUnknown:
    @pytest.mark.parametrize("purpose", ["test", "train"])
    def test_weights_without_names(self, purpose):
        assert plan(None, K400, purpose, where="weight file 'w.pth'") == ClassOrder(
            None,
            "class order: not checked, there are no class names with weight file 'w.pth'; outputs are taken to be in "
            "the order of the labels (to have it checked, use a checkpoint that has class names, weights by their name "
            "in the zoo, or what `tools/zoo.py export FILE OUT --label-set NAME` writes)",
        )

    def test_data_without_names(self):
        assert plan(K400, None).line == (
            "class order: not checked, there are no class names with the data; outputs are taken to be in the order of "
            "the labels (to have it checked, write classes.json or classes.txt beside the lists, or set DATA.LABEL_SET)"
        )

    def test_neither(self):
        line = plan(None, None).line
        assert "no class names with the weight file or the data; outputs" in line
        assert "NAME` writes and write classes.json" in line

    def test_weights_without_names_for_an_alphabetical_list(self):
        line = plan(None, sorted(K400)).line
        assert "in the order of the labels, but the data are Kinetics-400 in alphabetical order (to have" in line


class TestClassNamesOf:
    def test_of_a_checkpoint(self, tmp_path):
        path = tmp_path / "c.pyth"
        save_checkpoint(Checkpoint(1, state_of(2), {}, "", class_names=["run", "jump"]), path)
        assert class_names_of(read_content(path)) == ["run", "jump"]

    def test_a_file_knows_better_than_the_zoo(self):
        assert class_names_of({"class_names": ("b", "a")}, "hmdb51") == ["b", "a"]

    def test_of_the_zoo(self):
        assert class_names_of({"model_state": {}}, "kinetics400") == K400
        assert class_names_of({"class_names": None}, "ucf101")[100] == "YoYo"

    @pytest.mark.parametrize(
        "content",
        [
            {"head.weight": torch.zeros(400, 2)},
            {"class_names": None},
            {"class_names": []},
            {"class_names": {0: "a"}},
            {"class_names": "run jump"},
            {"class_names": ["a", 1]},
            {"class_names": torch.zeros(2)},
            {"metadata": {"class_names": "run, jump"}},
            {"metadata": {"class_names": '{"a": 1}'}},
            {"metadata": {"class_names": "null"}},
            {"metadata": {"format": "pt"}},
            {"metadata": None},
            torch.zeros(3),
            None,
        ],
    )
    def test_no_names(self, content):
        assert class_names_of(content) is None

    def test_of_a_files_metadata(self):
        assert class_names_of({"state_dict": {}, "metadata": {"class_names": '["run", "jump"]'}}) == ["run", "jump"]


class TestApply:
    def test_nothing_to_do(self):
        state = state_of(400)
        after, line = apply_class_order(state, K400, K400, "test", "w", num_classes=400)
        assert same_bits(after, state)
        assert "agree" in line

    def test_a_head_in_order(self):
        state = state_of(400)
        after, line = apply_class_order(state, K400, ALPHABETICAL, "train", "w", num_classes=400)
        assert "remapped by name" in line
        for k, name in enumerate(ALPHABETICAL):
            assert torch.equal(after["head.weight"][k], state["head.weight"][K400.index(name)])
            assert after["head.bias"][k] == state["head.bias"][K400.index(name)]

    def test_rows_of_a_subset(self):
        state = state_of(3)
        after, _ = apply_class_order(state, ["a", "b", "c"], ["c", "a"], "test", "w", num_classes=2)
        assert torch.equal(after["head.bias"], state["head.bias"][[2, 0]])

    def test_no_head(self):
        assert apply_class_order({"a": torch.ones(1)}, K400, ["a"], "test", "w", num_classes=1) == (
            {"a": torch.ones(1)},
            None,
        )

    @pytest.mark.parametrize("names", [(None, ["a", "b"]), (["a", "b", "c"], None), (None, None)])
    @pytest.mark.parametrize("purpose", ["test", "train"])
    def test_another_size_speaks_for_itself(self, names, purpose):
        state = state_of(3)
        after, line = apply_class_order(state, *names, purpose, "w", num_classes=2)
        assert same_bits(after, state)
        assert line is None

    def test_names_that_are_not_the_heads(self):
        with pytest.raises(WeightError) as error:
            apply_class_order(state_of(3), ["a", "b"], ["a", "b"], "test", "weight file 'w'", num_classes=2)
        assert str(error.value) == (
            "weight file 'w': 2 class names for a head of 3 classes; names and weights do not belong together, use the "
            "file as it was written"
        )


def tiny(classes: int) -> Uniformer:
    torch.manual_seed(classes)
    model = Uniformer(num_classes=classes, depths=(1, 1, 1, 1), widths=(8, 8, 8, 8), head_dim=8, mlp_ratio=1.0)
    nn.init.normal_(model.head.bias)
    return model.eval()


class TestInANetwork:
    """Scores go with the names: ``score[data's number of a name] == former score[weights' number of the name]``."""

    clip = torch.randn(1, 3, 2, 32, 32, generator=torch.Generator().manual_seed(0))

    def scores(self, model: nn.Module) -> list[float]:
        with torch.no_grad():
            return model(self.clip)[0].tolist()

    @pytest.mark.parametrize("weights, data", [(K400, ALPHABETICAL), (ALPHABETICAL, K400), (K400, ALPHABETICAL[::2])])
    def test_round_trip(self, tmp_path, weights, data):
        model = tiny(len(weights))
        before = dict(zip(weights, self.scores(model), strict=True))
        path = tmp_path / "c.pyth"
        save_checkpoint(Checkpoint(1, model.state_dict(), {}, "", class_names=weights), path)

        names = class_names_of(read_content(path))
        folders = [name.replace(" ", "_") for name in data]
        state, _ = apply_class_order(read_weights(path), names, folders, "test", "w", num_classes=len(data))
        other = tiny(len(data))
        assert not load_weights(other, state).left_out_head
        assert dict(zip(data, self.scores(other), strict=True)) == pytest.approx({n: before[n] for n in data}, abs=1e-6)

    def test_there_and_back(self):
        state = tiny(400).state_dict()
        there, _ = apply_class_order(state, K400, ALPHABETICAL, "test", "w", num_classes=400)
        back, _ = apply_class_order(there, ALPHABETICAL, K400, "test", "w", num_classes=400)
        assert not same_bits(there, state)
        assert same_bits(back, state)

    def test_a_new_head_is_the_networks_own(self):
        names = ["a", "b", "c", "d"]
        data = random.Random(0).sample([*names[:3], "e"], 4)
        weights, model = tiny(4).state_dict(), tiny(4)
        weights = {name: tensor + 1 for name, tensor in weights.items()}
        own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        state, line = apply_class_order(weights, names, data, "train", "w", num_classes=4)
        assert "the head starts anew, 3 of the data's 4 classes" in line
        report = load_weights(model, state, allow_new_head=True)
        assert report.left_out_head == ["head.weight", "head.bias"]
        after = model.state_dict()
        assert all(torch.equal(after[name], own[name]) for name in report.left_out_head)
        assert all(torch.equal(after[name], weights[name]) for name in report.loaded)


class TestRequireSameOrder:
    def check(self, names, others):
        require_same_order(names, others, where="c.pyth", others_where="train.csv", advice="set OUTPUT_DIR anew")

    @pytest.mark.parametrize(
        ("names", "others"),
        [(None, None), (None, ["a"]), (["a"], None), (K400, [n.replace(" ", "_") for n in K400]), ([], [])],
    )
    def test_what_agrees_or_is_not_known(self, names, others):
        self.check(names, others)

    @pytest.mark.parametrize(
        ("names", "others", "message"),
        [
            (["a", "b"], ["a"], "c.pyth has 2 classes, train.csv has 1; set OUTPUT_DIR anew"),
            (["a", "b"], ["b", "a"], "class 0 is 'a' in c.pyth and 'b' in train.csv; set OUTPUT_DIR anew"),
            (["a", "b"], ["a", "c"], "class 1 is 'b' in c.pyth and 'c' in train.csv; set OUTPUT_DIR anew"),
            (["a b", "a-b"], ["a-b", "a b"], "class 0 is 'a b' in c.pyth and 'a-b' in train.csv; set OUTPUT_DIR anew"),
        ],
    )
    def test_what_differs(self, names, others, message):
        with pytest.raises(UserError) as error:
            self.check(names, others)
        assert str(error.value) == message
