"""Registries find names in any case; an unknown name is refused with the known ones."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.registry import Registry, nearest

NAMES = st.text("abcdefgXYZ_.0", min_size=1, max_size=12)


@pytest.fixture
def animals() -> Registry[int]:
    registry: Registry[int] = Registry("animal")
    registry.register("Zebra")(1)
    registry.register("ant")(2)
    registry.register("Bee")(3)
    return registry


class TestRegistry:
    def test_the_decorator_returns_its_object_unchanged(self):
        registry = Registry("thing")

        @registry.register("Thing")
        class Thing:
            pass

        assert registry.get("Thing") is Thing

    @pytest.mark.parametrize("name", ["Zebra", "zebra", "ZEBRA", "zEbRa"])
    def test_names_are_found_in_any_case(self, animals, name):
        assert animals.get(name) == 1
        assert name in animals

    def test_an_unknown_name_is_refused_with_all_known_names_sorted(self, animals):
        with pytest.raises(UserError) as caught:
            animals.get("zebu")
        assert str(caught.value) == "unknown animal 'zebu'; known: Bee, Zebra, ant"
        assert "zebu" not in animals

    def test_an_empty_registry_still_gives_one_line(self):
        with pytest.raises(UserError, match="^unknown model 'x'; known: $|^unknown model 'x'; known:$"):
            Registry("model").get("x")

    def test_names_come_out_as_written_and_in_order(self, animals):
        assert list(animals) == ["Zebra", "ant", "Bee"]

    def test_a_name_taken_twice_is_our_defect(self, animals):
        with pytest.raises(AssertionError, match="animal 'zebra' is registered twice"):
            animals.register("zebra")(4)
        assert animals.get("Zebra") == 1
        assert list(animals) == ["Zebra", "ant", "Bee"]

    def test_two_registries_share_nothing(self, animals):
        assert "Zebra" not in Registry("animal")

    def test_falsy_entries_are_found(self):
        registry = Registry("number")
        registry.register("zero")(0)
        assert registry.get("zero") == 0

    @given(st.dictionaries(NAMES, st.integers()))
    def test_every_filed_object_is_found_again(self, table):
        assume(len({name.casefold() for name in table}) == len(table))
        registry = Registry("number")
        for name, value in table.items():
            registry.register(name)(value)
        assert list(registry) == list(table)
        for name, value in table.items():
            assert registry.get(name) == registry.get(name.upper()) == value


class TestNearest:
    def test_one_slip_is_found(self):
        assert nearest("TRAIN.BATCHSIZE", ["TRAIN.BATCH_SIZE", "DATA.MEAN"]) == ["TRAIN.BATCH_SIZE"]

    def test_case_does_not_count(self):
        assert nearest("train.batch_size", ["TRAIN.BATCH_SIZE", "DATA.MEAN"]) == ["TRAIN.BATCH_SIZE"]

    def test_the_best_stands_first(self):
        assert nearest("abcd", ["abxy", "abcx", "abcde"]) == ["abcde", "abcx"]

    def test_nothing_is_near_a_foreign_word(self):
        assert nearest("qqqq", ["TRAIN", "TEST"]) == []
        assert nearest("x", []) == []

    def test_the_limit_holds(self):
        known = ["name1", "name2", "name3", "name4"]
        assert len(nearest("name", known)) == 3
        assert len(nearest("name", known, limit=1)) == 1

    def test_known_may_be_an_iterator_that_is_read_once(self):
        assert nearest("abc", iter(["abd", "zzz"])) == ["abd"]

    @given(NAMES, st.lists(NAMES, unique_by=str.casefold, max_size=8))
    def test_answers_are_known_names_without_repeats_and_a_member_is_its_own_best(self, name, known):
        found = nearest(name, known)
        assert len(found) == len(set(found)) <= 3
        assert set(found) <= set(known)
        if name in known:
            assert found[0] == name
