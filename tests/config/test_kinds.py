"""What each kind of value takes, what it makes of it, and how it says what is allowed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.config.kinds import Bool, Choice, Either, Int, Key, List, Maybe, Number, OrWord, Text

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
KINDS = [
    Bool(),
    Int(),
    Int(1),
    Int(-1, 5),
    Int(None, 3),
    Number(),
    Number(0),
    Number(0, 1),
    Text(),
    Choice(("a", "Bc", True, False, "")),
    List(Int(0), 2),
    List(Number(0, 1)),
    Maybe(Number(0)),
    OrWord("auto", Int(0)),
    Either(Bool(), List(Bool(), 2)),
    Either(Number(0), List(Number(0), 4)),
]


def accepts(kind, value):
    """Return what ``kind`` makes of ``value`` together with its type, or "refused"."""
    try:
        parsed = kind.parse(value)
    except (ValueError, OverflowError):
        return "refused"
    return type(parsed), parsed


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@given(value=ANYTHING)
def test_a_kind_parses_its_own_output_to_itself_and_refuses_with_valueerror(kind, value):
    try:
        parsed = kind.parse(value)
    except (ValueError, OverflowError):
        return
    assert kind.parse(parsed) == parsed
    assert type(kind.parse(parsed)) is type(parsed)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Bool(), "True or False"),
        (Int(), "whole number"),
        (Int(1), "whole number >= 1"),
        (Int(None, 7), "whole number <= 7"),
        (Int(-1, 5), "whole number from -1 to 5"),
        (Number(), "number"),
        (Number(0), "number >= 0"),
        (Number(1e-6), "number >= 1e-06"),
        (Number(0, 0.999), "number from 0 to 0.999"),
        (Number(None, 0.5), "number <= 0.5"),
        (Text(), "string"),
        (Choice(("pyav", "decord")), "one of pyav, decord"),
        (Choice(("", "average", True)), "one of '', average, True"),
        (List(Int(1)), "list of whole number >= 1"),
        (List(Int(1), 3), "list of 3, each a whole number >= 1"),
        (Maybe(Number(0)), "null or number >= 0"),
        (OrWord("auto", Int(0)), "auto or whole number >= 0"),
    ],
    ids=str,
)
def test_describe(kind, words):
    assert kind.describe() == words


class TestBool:
    @pytest.mark.parametrize("value", [True, "True", "true", "TRUE", " true\n"])
    def test_true(self, value):
        assert Bool().parse(value) is True

    @pytest.mark.parametrize("value", [False, "False", "false", "FALSE"])
    def test_false(self, value):
        assert Bool().parse(value) is False

    @pytest.mark.parametrize("value", [0, 1, 1.0, "1", "yes", "on", "", None, [True], "truely"])
    def test_refused(self, value):
        with pytest.raises(ValueError):
            Bool().parse(value)


class TestInt:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [(3, 3), (3.0, 3), ("3", 3), (" +3 ", 3), ("-1", -1), ("1e3", 1000), ("2.0", 2), (-0.0, 0), (10**30, 10**30)],
    )
    def test_taken(self, value, expected):
        parsed = Int().parse(value)
        assert parsed == expected
        assert type(parsed) is int

    @pytest.mark.parametrize(
        "value",
        [True, False, 2.5, "2.5", "", "x", "1 2", "0x10", None, [1], math.inf, math.nan, "inf", "nan", "²", "+-5", {}],
    )
    def test_refused(self, value):
        with pytest.raises((ValueError, OverflowError)):
            Int().parse(value)

    @given(st.integers(), st.integers(-5, 5), st.integers(0, 10))
    def test_both_bounds_belong_to_the_range(self, value, low, width):
        inside = low <= value <= low + width
        assert accepts(Int(low, low + width), value) == ((int, value) if inside else "refused")
        assert accepts(Int(low), low) == (int, low)
        assert accepts(Int(low), low - 1) == "refused"
        assert accepts(Int(None, low), low) == (int, low)
        assert accepts(Int(None, low), low + 1) == "refused"

    @given(st.integers(-(10**15), 10**15))
    def test_digits_in_a_string_are_the_number(self, value):
        assert accepts(Int(), str(value)) == accepts(Int(), float(value)) == (int, value)


class TestNumber:
    @pytest.mark.parametrize(
        ("value", "expected"), [(1, 1.0), (0.5, 0.5), ("1e-4", 1e-4), ("1E-4", 1e-4), ("-2", -2.0), (" 3.5 ", 3.5)]
    )
    def test_taken(self, value, expected):
        parsed = Number().parse(value)
        assert parsed == expected
        assert type(parsed) is float

    @pytest.mark.parametrize(
        "value", [True, None, "", "x", "1,5", math.inf, -math.inf, math.nan, "nan", "-inf", [1.0], {}, "1e400", 10**400]
    )
    def test_refused(self, value):
        with pytest.raises((ValueError, OverflowError)):
            Number().parse(value)

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_a_float_is_kept_to_the_bit_also_as_text(self, value):
        assert accepts(Number(), value) == accepts(Number(), repr(value)) == (float, value)

    @given(st.floats(-10, 10), st.floats(-5, 5), st.floats(0, 5))
    def test_both_bounds_belong_to_the_range(self, value, low, width):
        inside = low <= value <= low + width
        assert accepts(Number(low, low + width), value) == ((float, value) if inside else "refused")
        assert accepts(Number(low), low) == accepts(Number(None, low), low) == (float, low)
        assert accepts(Number(low), math.nextafter(low, -math.inf)) == "refused"
        assert accepts(Number(None, low), math.nextafter(low, math.inf)) == "refused"


class TestText:
    @given(st.text())
    def test_text_is_kept_with_its_blanks(self, value):
        assert Text().parse(value) == value

    @pytest.mark.parametrize(
        ("value", "expected"), [(None, ""), (12, "12"), (1.5, "1.5"), (" ", " "), ("null", "null")]
    )
    def test_taken(self, value, expected):
        assert Text().parse(value) == expected

    @pytest.mark.parametrize("value", [True, False, ["a"], {}, ("a",)])
    def test_refused(self, value):
        with pytest.raises(ValueError):
            Text().parse(value)


class TestChoice:
    MODES = Choice((False, True, "bf16", "fp16"))

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(False, False), ("false", False), ("True", True), ("bf16", "bf16"), ("BF16", "bf16"), (" fp16 ", "fp16")],
    )
    def test_strings_match_in_any_case_and_words_of_bools_are_bools(self, value, expected):
        parsed = self.MODES.parse(value)
        assert parsed == expected
        assert type(parsed) is type(expected)

    @pytest.mark.parametrize("value", [0, 1, 0.0, None, "", "bf", "bf166", ["bf16"], ("bf16",), {}])
    def test_refused(self, value):
        with pytest.raises(ValueError, match="not one of the choices"):
            self.MODES.parse(value)

    def test_the_empty_word_is_taken_only_where_it_is_listed(self):
        assert Choice(("", "a")).parse("") == ""
        with pytest.raises(ValueError):
            Choice(("a",)).parse("")


class TestList:
    @pytest.mark.parametrize("value", [[1, 2], (1, 2), ["1", 2.0]])
    def test_lists_and_tuples_become_a_list_of_the_inner_kind(self, value):
        assert List(Int(), 2).parse(value) == [1, 2]
        assert [type(v) for v in List(Int(), 2).parse(value)] == [int, int]

    @pytest.mark.parametrize("value", [[1], [1, 2, 3], [], [1, "x"], [1, 0], "12", 12, None, {1: 2, 3: 4}, {1, 2}])
    def test_refused(self, value):
        with pytest.raises(ValueError):
            List(Int(1), 2).parse(value)

    def test_without_a_length_any_number_will_do(self):
        assert List(Int()).parse([]) == []
        assert List(Int()).parse([1] * 9) == [1] * 9

    def test_the_list_is_a_new_one(self):
        value = [1, 2]
        List(Int()).parse(value).append(3)
        assert value == [1, 2]

    def test_lists_of_lists(self):
        assert List(List(Int(), 1), 2).parse([[1], ("2",)]) == [[1], [2]]
        with pytest.raises(ValueError):
            List(List(Int(), 1), 2).parse([1, 2])


class TestMaybe:
    @pytest.mark.parametrize("value", [None, "null", "None", "NONE", "~", " none "])
    def test_none(self, value):
        assert Maybe(Number(0)).parse(value) is None

    def test_else_the_inner_kind(self):
        assert Maybe(Number(0)).parse("20") == 20.0
        for value in (-1, "x", "", True, [None]):
            with pytest.raises(ValueError):
                Maybe(Number(0)).parse(value)


class TestOrWord:
    @pytest.mark.parametrize("value", ["auto", "AUTO", " Auto "])
    def test_the_word(self, value):
        assert OrWord("auto", Int(0)).parse(value) == "auto"

    def test_else_the_inner_kind(self):
        assert OrWord("auto", Int(0)).parse("3") == 3
        for value in (-1, "automatic", None, True, ""):
            with pytest.raises(ValueError):
                OrWord("auto", Int(0)).parse(value)


class TestEither:
    RATIO = Either(Number(0.5), List(Number(0.5), 2))

    @pytest.mark.parametrize(("value", "parsed"), [(4, 4.0), ("3", 3.0), ([1, "2"], [1.0, 2.0]), ((1, 1), [1.0, 1.0])])
    def test_one_or_the_other(self, value, parsed):
        assert self.RATIO.parse(value) == parsed

    @pytest.mark.parametrize("value", [0, 10**400, [1], [1, 0], [1, 1, 1], "x", None, True, [10**400, 1]])
    def test_neither(self, value):
        with pytest.raises((ValueError, OverflowError)):
            self.RATIO.parse(value)

    def test_in_words(self):
        assert self.RATIO.describe() == "number >= 0.5, or list of 2, each a number >= 0.5"


def test_a_key_has_no_unit_unless_told():
    key = Key("A.B", 1, Int(), "Meaning.")
    assert (key.name, key.default, key.meaning, key.unit) == ("A.B", 1, "Meaning.", "")
    with pytest.raises(AttributeError):
        key.default = 2
