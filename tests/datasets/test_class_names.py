"""Class names of a list: a setting, a file or the folders tell them, and what contradicts is refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.datasets.class_names import class_folders, find_class_names, infer_class_names
from uniformer_video.datasets.label_sets import LABEL_SETS, recognise
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.errors import DataError, UserError

K400 = LABEL_SETS["kinetics400"]


def listed(names, labels=None, *, root="data/train", videos=2, folder=lambda name: name.replace(" ", "_")):
    """Return ``videos`` records for each class of ``labels`` in folders of its name; ``names`` are in label order."""
    labels = range(len(names)) if labels is None else labels
    return [VideoRecord(f"{root}/{folder(names[n])}/{v}.mp4", n) for v in range(videos) for n in labels]


class TestInfer:
    @pytest.mark.parametrize("name", ["kinetics400", "kinetics600"])
    @pytest.mark.parametrize("order", ["published", "alphabetical"])
    @pytest.mark.parametrize("folder", [lambda n: n.replace(" ", "_"), lambda n: n, lambda n: n.replace("'", "")])
    def test_every_class_is_there(self, name, order, folder):
        names = list(LABEL_SETS[name]) if order == "published" else sorted(LABEL_SETS[name])
        found = infer_class_names(listed(names, folder=folder), len(names))
        assert found == names, "in the spelling of the set"
        assert recognise(found).order == order

    @pytest.mark.parametrize("name", ["kinetics400", "kinetics600"])
    @pytest.mark.parametrize("labels", [(0, 1), (7, 250, 399), range(0, 400, 3)])
    def test_some_classes_tell_the_order_of_all(self, name, labels):
        for names in (list(LABEL_SETS[name]), sorted(LABEL_SETS[name])):
            assert infer_class_names(listed(names, labels), len(names)) == names

    def test_the_order_of_folders_as_words(self):
        # "skiing crosscountry" before "skiing not slalom": sorted after the brackets went.
        bare = [name.replace("(", "").replace(")", "") for name in K400]
        names = sorted(bare)
        labels = [n for n, name in enumerate(names) if name.startswith("ski")]
        found = infer_class_names(listed(names, labels), 400)
        assert [name.replace("(", "").replace(")", "") for name in found] == names

    def test_one_label_is_too_few(self):
        assert infer_class_names(listed(K400, [3]), 400) is None

    def test_an_order_of_its_own_is_known_when_every_class_is_there(self):
        names = list(K400)
        random.Random(1).shuffle(names)
        assert infer_class_names(listed(names), 400) == names
        assert infer_class_names(listed(names, range(399)), 400) is None

    def test_a_subset_of_a_known_set(self):
        names = sorted(K400)[::2]
        assert infer_class_names(listed(names), 200) == names
        assert infer_class_names(listed(names, range(100)), 200) is None, "no order of 200 classes is known"

    def test_two_published_classes_in_a_list_of_101(self):
        names = list(LABEL_SETS["ucf101"])
        # Only four classes are elsewhere in the order of characters.
        assert infer_class_names(listed(names, [35, 36]), 101) == names
        assert infer_class_names(listed(sorted(names), [34, 35]), 101) == sorted(names)

    def test_what_fits_two_orders_tells_none(self):
        assert infer_class_names(listed(LABEL_SETS["ucf101"], [0, 1, 100]), 101) is None

    def test_hmdb51_where_both_orders_are_one(self):
        names = list(LABEL_SETS["hmdb51"])
        assert infer_class_names(listed(names, [4, 40]), 51) == names

    def test_both_versions_of_something_are_told_apart_by_the_labels(self):
        one, two = LABEL_SETS["ssv1"], LABEL_SETS["ssv2"]
        assert infer_class_names(listed(one, [0, 32, 33]), 174) == list(one)
        assert infer_class_names(listed(two, [0, 32, 33]), 174) == list(two)
        assert infer_class_names(listed(one, [0, 1]), 174) is None

    @pytest.mark.parametrize(
        "records",
        [
            [],
            [VideoRecord("a.mp4", 0), VideoRecord("b.mp4", 1)],
            [VideoRecord("val/a.mp4", 0), VideoRecord("val/b.mp4", 1)],
            [VideoRecord("x/a.mp4", 0), VideoRecord("y/b.mp4", 1)],
            [*listed(K400, [0, 1, 2]), VideoRecord("data/train/unknown/1.mp4", 5)],
            [*listed(K400, [0, 1, 2]), VideoRecord("data/train/marching/1.mp4", 5)],
            [*listed(K400, [0, 1, 2]), VideoRecord("data/train/bowling/1.mp4", 0)],
            [*listed(K400, [0, 1, 2]), VideoRecord("data/train/Marching/1.mp4", 5)],
            [*listed(K400, [0, 1, 2]), VideoRecord("1.mp4", 5)],
        ],
        ids=[
            "no list",
            "no folder",
            "one folder",
            "own names",
            "one other",
            "a folder with two labels",
            "a label with two folders",
            "one folder in two spellings",
            "a video without folder",
        ],
    )
    def test_folders_that_tell_nothing(self, records):
        assert infer_class_names(records, 400) is None

    def test_another_number_of_classes(self):
        assert infer_class_names(listed(K400, range(10)), 401) is None

    @pytest.mark.parametrize("root", ["", "/data/k400", "s3://bucket/train", "https://host/a b", "D:\\videos"])
    def test_where_the_folders_lie(self, root):
        assert infer_class_names(listed(sorted(K400), [0, 9], root=root), 400) == sorted(K400)

    def test_paths_of_windows(self):
        records = [VideoRecord(f"D:\\videos\\{name}\\1.mp4", n) for n, name in enumerate(sorted(K400)[:5])]
        assert infer_class_names(records, 400) == sorted(K400)

    def test_the_order_of_the_records_does_not_count(self):
        records = listed(sorted(K400), range(0, 400, 7))
        random.Random(2).shuffle(records)
        assert infer_class_names(records, 400) == sorted(K400)

    @given(st.sets(st.integers(0, 399), min_size=2, max_size=12))
    def test_any_labels_of_kinetics(self, labels):
        for names in (list(K400), sorted(K400)):
            found = infer_class_names(listed(names, labels, videos=1), 400)
            assert all(found[n] == names[n] for n in labels)

    @given(st.lists(st.tuples(st.sampled_from(K400[:5]), st.integers(0, 4)), max_size=12))
    def test_names_agree_with_every_record_or_are_none(self, pairs):
        found = infer_class_names([VideoRecord(f"{name}/1.mp4", label) for name, label in pairs], 5)
        assert found is None or all(found[label] == name for name, label in pairs)


def test_class_folders():
    assert class_folders(listed(["run", "far jump"])) == {0: "run", 1: "far_jump"}
    assert class_folders([]) == {}
    assert class_folders([VideoRecord("x/run/1.mp4", 7)]) == {7: "run"}
    assert class_folders([VideoRecord("/1.mp4", 7)]) == {}
    assert class_folders(iter(listed(["run", "far jump"]))) == {0: "run", 1: "far_jump"}


def test_folders_of_videos_with_several_labels_tell_no_class(tmp_path):
    # One video in each folder, and the folders bear the names of classes: as a plain set has them.
    records = [VideoRecord("red/1.mp4", (1,)), VideoRecord("blue/1.mp4", (0, 1)), VideoRecord("odd/1.mp4", ())]
    assert class_folders(records) == {}
    (tmp_path / "classes.json").write_text('["blue", "red"]')
    assert find_class_names(tmp_path, records, 2) == ["blue", "red"]
    assert infer_class_names(records, 2) is None


class TestFind:
    def test_nothing_tells(self, tmp_path):
        assert find_class_names(tmp_path, [VideoRecord("a.mp4", 0)], 3) is None

    def test_a_file(self, tmp_path):
        (tmp_path / "classes.txt").write_text("run\njump\n")
        assert find_class_names(tmp_path, [VideoRecord("a.mp4", 0)], 2) == ["run", "jump"]

    def test_a_file_comes_before_the_folders(self, tmp_path):
        (tmp_path / "classes.txt").write_text("".join(f"Klasse {n}\n" for n in range(51)))
        assert find_class_names(tmp_path, listed(LABEL_SETS["hmdb51"]), 51)[50] == "Klasse 50"

    def test_the_folders(self, tmp_path):
        assert find_class_names(tmp_path, listed(sorted(K400), [0, 5]), 400) == sorted(K400)

    def test_a_setting(self, tmp_path):
        videos = [VideoRecord("a.mp4", 0)]
        assert find_class_names(tmp_path, videos, 400, label_set_name="kinetics400") == list(K400)
        assert find_class_names(tmp_path, videos, 400, label_set_name="kinetics400:alphabetical") == sorted(K400)

    def test_a_setting_and_a_file_that_agree(self, tmp_path):
        (tmp_path / "classes.txt").write_text("".join(name.replace(" ", "_") + "\n" for name in K400))
        assert find_class_names(tmp_path, [], 400, label_set_name="kinetics400") == list(K400)

    def test_a_setting_and_a_file_that_contradict_each_other(self, tmp_path):
        (tmp_path / "classes.txt").write_text("".join(name + "\n" for name in K400))
        with pytest.raises(DataError) as error:
            find_class_names(tmp_path, [], 400, label_set_name="kinetics400:alphabetical")
        assert str(error.value) == (
            f"DATA.LABEL_SET 'kinetics400:alphabetical' and classes.json or classes.txt in {tmp_path} contradict each "
            "other: class 0 is 'abseiling' in the one and 'riding a bike' in the other; correct or remove one of them"
        )

    def test_a_setting_of_another_size(self, tmp_path):
        with pytest.raises(DataError) as error:
            find_class_names(tmp_path, [], 101, label_set_name="hmdb51")
        assert str(error.value) == (
            "DATA.LABEL_SET 'hmdb51' has 51 classes, but MODEL.NUM_CLASSES is 101; make them agree"
        )

    def test_an_unknown_setting(self, tmp_path):
        with pytest.raises(UserError, match="there is no label set 'k500'; known are kinetics400, "):
            find_class_names(tmp_path, [], 400, label_set_name="k500")

    def test_a_file_of_another_size(self, tmp_path):
        (tmp_path / "classes.txt").write_text("run\njump\n")
        with pytest.raises(DataError, match="names 2 classes, but MODEL.NUM_CLASSES is 3; make them agree"):
            find_class_names(tmp_path, [], 3)

    def test_a_setting_that_the_folders_contradict(self, tmp_path):
        # The likeliest mistake: the published names said of a list that was numbered along the alphabet.
        with pytest.raises(DataError) as error:
            find_class_names(tmp_path, listed(sorted(K400)), 400, label_set_name="kinetics400")
        assert str(error.value) == (
            "DATA.LABEL_SET 'kinetics400' has 'riding a bike' as class 0, but the list's videos of label 0 lie in a "
            "folder 'abseiling', which there is class 341; the folders are Kinetics-400 in alphabetical order: set "
            "DATA.LABEL_SET kinetics400:alphabetical and remove a file of names that says otherwise"
        )
        assert find_class_names(
            tmp_path, listed(sorted(K400)), 400, label_set_name="kinetics400:alphabetical"
        ) == sorted(K400)

    def test_a_file_that_the_folders_contradict(self, tmp_path):
        (tmp_path / "classes.json").write_text('["jump", "run", "throw"]')
        with pytest.raises(DataError) as error:
            find_class_names(tmp_path, listed(["run", "jump", "throw"]), 3)
        assert str(error.value) == (
            f"the file of class names in {tmp_path} has 'jump' as class 0, but the list's videos of label 0 lie in a "
            "folder 'run', which there is class 1; put the names into the order of the list's labels"
        )

    def test_folders_of_other_names_contradict_nothing(self, tmp_path):
        (tmp_path / "classes.json").write_text('["jump", "run", "throw"]')
        names = ["jump", "run", "throw"]
        assert find_class_names(tmp_path, listed(["a", "b", "c"]), 3) == names
        assert find_class_names(tmp_path, listed(names), 3) == names
        # A folder for all, named as a class.
        assert find_class_names(tmp_path, [VideoRecord("run/1.mp4", n) for n in range(3)], 3) == names


class TestNamesOfTheAnnotation:
    NAMES = ("run", "jump", "sit")

    def found(self, folder, num_classes=3, **options):
        return find_class_names(folder, (), num_classes, annotated=self.NAMES, **options)

    def test_they_count_where_nothing_else_is_said(self, tmp_path):
        assert self.found(tmp_path) == ["run", "jump", "sit"]

    def test_a_file_that_agrees(self, tmp_path):
        (tmp_path / "classes.json").write_text('["Run", "jump", "sit"]')
        assert self.found(tmp_path) == ["run", "jump", "sit"]

    def test_a_file_that_contradicts(self, tmp_path):
        (tmp_path / "classes.txt").write_text("run\nsit\njump\n")
        with pytest.raises(DataError) as error:
            self.found(tmp_path)
        assert str(error.value) == (
            f"the annotation and classes.json or classes.txt in {tmp_path} contradict each other: class 1 is 'jump' in "
            "the one and 'sit' in the other; correct or remove one of them"
        )

    def test_another_number(self, tmp_path):
        with pytest.raises(
            DataError, match="^the annotation has 3 classes, but MODEL.NUM_CLASSES is 4; make them agree$"
        ):
            self.found(tmp_path, 4)

    def test_a_setting_of_another_number(self, tmp_path):
        wanted = "^DATA.LABEL_SET 'hmdb51' has 51 classes, but MODEL.NUM_CLASSES is 3; make them agree$"
        with pytest.raises(DataError, match=wanted):
            self.found(tmp_path, label_set_name="hmdb51")

    def test_a_setting_in_another_order(self, tmp_path):
        names = K400
        with pytest.raises(DataError) as error:
            find_class_names(tmp_path, (), 400, annotated=names, label_set_name="kinetics400:alphabetical")
        text = str(error.value)
        assert text.startswith(
            "the annotation and DATA.LABEL_SET 'kinetics400:alphabetical' contradict each other: class"
        )
        assert text.endswith("; leave DATA.LABEL_SET empty")
        assert find_class_names(tmp_path, (), 400, annotated=names, label_set_name="kinetics400") == list(names)
