"""Which classes say left or right, what pairs of classes a mirror swaps, and the faults in such a list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.datasets.flips import FlipRule, says_left_or_right
from uniformer_video.datasets.label_sets import LABEL_SETS
from uniformer_video.runtime.errors import UserError

NAMES = ["jump", "Swipe Left", "Swipe Right", "look leftwards", "look rightwards", "run"]


@pytest.mark.parametrize(
    "name",
    [
        *("left", "RIGHT", "swipe left", "swipe_left", "swipe-right", "SwipeLeft", "turnRIGHT", "left-to-right"),
        *("LEFT_TURN", "leftwards", "leftward", "Rightward", "right-handed", "lefthanded", "turn left!", "left/right"),
        *("Pulling [something] from left to right", "left1", "2right", "look (left)", "HTMLLeft", "the rightmost one"),
    ],
)
def test_names_that_say_left_or_right(name):
    assert says_left_or_right(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "bright", "upright", "cleft", "BrightLight", "brightly lit", "eating leftovers", "copyright", "fright"),
        *("righteous", "lefty", "theft", "lift", "clockwise", "123", "Uprightness", "aleft b", "wright_fly"),
    ],
)
def test_names_that_do_not(name):
    assert not says_left_or_right(name)


@given(st.text())
def test_any_name_gets_an_answer(name):
    assert says_left_or_right(name + " LEFT")
    assert isinstance(says_left_or_right(name), bool)


def test_published_sets():
    counts = {name: sum(map(says_left_or_right, names)) for name, names in LABEL_SETS.items()}
    assert counts == {"kinetics400": 0, "kinetics600": 0, "ssv1": 7, "ssv2": 7, "ucf101": 0, "hmdb51": 0}


def test_classes_that_say_left_or_right_stay_as_they_are():
    rule = FlipRule.from_names(NAMES, 6)
    assert rule.mirrored == (0, -1, -1, -1, -1, 5)
    assert [rule.allows((label,)) for label in range(6)] == [True, False, False, False, False, True]
    assert rule.after((5,)) == (5,)


@pytest.mark.parametrize("pairs", [[[1, 2]], [["swipe_left", "SwipeRight"]], [("Swipe Right", 1)], [[2, 1]]])
def test_a_pair_swaps(pairs):
    rule = FlipRule.from_names(NAMES, 6, pairs)
    assert rule.mirrored == (0, 2, 1, -1, -1, 5)
    assert rule.after((1,)) == (2,) and rule.after((2,)) == (1,)


def test_several_labels():
    rule = FlipRule.from_names(NAMES, 6, [[1, 2]])
    assert rule.allows((0, 1, 5)) and rule.after((0, 1, 5)) == (0, 2, 5)
    assert not rule.allows((0, 1, 3))  # one label that forbids it is enough
    assert rule.allows(()) and rule.after(()) == ()
    with pytest.raises(AssertionError):
        rule.after((3,))


def test_a_class_paired_with_itself_is_mirrored_and_stays():
    assert FlipRule.from_names(["right answer", "left"], 2, [["right answer", 0]]).mirrored == (0, -1)


def test_without_names_only_pairs_tell():
    assert FlipRule.from_names(None, 4).mirrored == (0, 1, 2, 3)
    assert FlipRule.from_names(None, 4, [[0, 3]]).mirrored == (3, 1, 2, 0)


@given(st.integers(2, 40), st.data())
def test_a_mirror_of_a_mirror_is_the_thing_itself(count, data):
    shuffled = data.draw(st.permutations(range(count)))
    pairs = [shuffled[n : n + 2] for n in range(0, 2 * data.draw(st.integers(0, count // 2)), 2)]
    names = [data.draw(st.sampled_from(["turn left", "jump"])) + f" {n}" for n in range(count)]
    rule = FlipRule.from_names(names, count, pairs)
    paired = {n for pair in pairs for n in pair}
    for label in range(count):
        assert rule.allows((label,)) == (label in paired or "left" not in names[label])
        if rule.allows((label,)):
            assert rule.after(rule.after((label,))) == (label,)
            assert (rule.after((label,)) != (label,)) == (label in paired)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("1,2", "DATA.FLIP_LABEL_MAP is '1,2'; it is a list of pairs"),
        ([1, 2], "DATA.FLIP_LABEL_MAP, pair 1: 1 is no pair; it is a list of pairs"),
        ([[1, 2], [3]], r"DATA.FLIP_LABEL_MAP, pair 2: \[3\] is no pair"),
        (["ab"], "pair 1: 'ab' is no pair"),
        ([[1, 6]], r"pair 1: there is no class 6; classes are 0 to 5$"),
        ([[-1, 2]], "pair 1: there is no class -1"),
        ([[1, True]], "pair 1: True is neither a class number nor a class name"),
        ([[1, 2.0]], "pair 1: 2.0 is neither"),
        ([["hop", 2]], "pair 1: there is no class 'hop'; give class numbers, 0 to 5, or names of the set"),
        ([[1, 2], [2, 3]], "DATA.FLIP_LABEL_MAP, pair 2: class 2 is in pair 1 too; a class has one mirror class"),
        ([[1, 2], ["swipe left", 4]], "pair 2: class 1 is in pair 1 too"),
    ],
)
def test_faults_in_the_list(pairs, message):
    with pytest.raises(UserError, match=message) as error:
        FlipRule.from_names(NAMES, 6, pairs)
    assert "\n" not in str(error.value)


def test_names_that_cannot_be_looked_up():
    with pytest.raises(UserError, match="class 'a' is not known, because the class names are not; give class numbers"):
        FlipRule.from_names(None, 2, [["a", 1]])
    with pytest.raises(UserError, match="several classes are called 'a b'"):
        FlipRule.from_names(["A b", "a_B", "c"], 3, [["a b", 2]])
    # A name that is spelt so exactly is meant.
    assert FlipRule.from_names(["A b", "a_B", "c"], 3, [["a_B", 2]]).mirrored == (0, 2, 1)


def test_what_the_log_says():
    assert FlipRule.from_names(["jump", "run"], 2).describe(["jump", "run"]) == ""
    assert FlipRule.from_names(NAMES, 6).describe(NAMES) == (
        "4 of 6 classes say left or right and are not mirrored (e.g. 'Swipe Left'); "
        "DATA.FLIP_LABEL_MAP names classes that swap"
    )
    assert FlipRule.from_names(NAMES, 6, [[1, 2], [3, 4]]).describe(NAMES) == (
        "4 of 6 classes swap their labels when mirrored (DATA.FLIP_LABEL_MAP)"
    )
    both = FlipRule.from_names(NAMES, 6, [[1, 2]]).describe(NAMES)
    assert both.startswith("2 of 6 classes say left or right and are not mirrored (e.g. 'look leftwards'); ")
    assert both.endswith("; 2 of 6 classes swap their labels when mirrored (DATA.FLIP_LABEL_MAP)")
