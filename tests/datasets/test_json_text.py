"""JSON of other people: entries with their lines, faults as one line."""

from __future__ import annotations

import pytest
import simplejson
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.datasets.json_text import JsonEntry, json_entries, read_json, text_of
from uniformer_video.runtime.errors import DataError


def entries(text, inner=(), first_line=1):
    return json_entries("f.json", text, "a list is wanted", inner, first_line)


def test_elements_of_a_list_have_lines():
    text = '\n[\n  {"a": 1},\n\n  {"a":\n 2}, 3,\n"x"]\n'
    assert entries(text) == [
        JsonEntry(3, "", {"a": 1}),
        JsonEntry(5, "", {"a": 2}),
        JsonEntry(6, "", 3),
        JsonEntry(7, "", "x"),
    ]


def test_members_of_an_object_have_lines():
    assert entries('{"a": 1,\n"b":\n[2],\n\n"c": {}}') == [
        JsonEntry(1, "a", 1),
        JsonEntry(2, "b", [2]),
        JsonEntry(5, "c", {}),
    ]


def test_an_inner_list_is_found_with_its_lines():
    text = '{"info": {"videos": [0]},\n "n": 3,\n "videos": [\n{"p": 1},\n{"p": 2}],\n "data": []}'
    assert entries(text, ("videos", "data")) == [JsonEntry(4, "", {"p": 1}), JsonEntry(5, "", {"p": 2})]
    assert entries(text, ("data", "videos")) == []
    # What is no list is a member as any other.
    assert entries('{"videos": {"a": 1}}', ("videos",)) == [JsonEntry(1, "videos", {"a": 1})]


def test_the_number_of_the_first_line_is_added():
    assert entries("[1,\n2]", first_line=7) == [JsonEntry(7, "", 1), JsonEntry(8, "", 2)]
    with pytest.raises(DataError, match=r"^f\.json:8: not JSON"):
        entries("[1,\n,]", first_line=7)


@pytest.mark.parametrize("text", ["[]", " [ ] ", "{}", "{\n}"])
def test_nothing(text):
    assert entries(text) == []


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, "Expecting value, column 1"),
        ("[", 1, ""),
        ("[1,", 1, ""),
        ("[1,]", 1, ""),
        ("[1\n 2]", 2, "Expecting ',', column 2"),
        ('{"a" 1}', 1, "Expecting ':', column 6"),
        ("{1: 2}", 1, ""),
        ("{'a': 2}", 1, ""),
        ('[1,\n"a]', 2, ""),
        ("[1]\n[2]", 2, "Extra data, column 1"),
        ('{"a": 1,\n "a": 2}', 2, "the key 'a' twice in one object, column 5"),
        ('[1,\n{"a": 1, "a": 2}]', 2, "the key 'a' twice in one object, column 1"),
        ("[1,\n" + "[" * 100_000, 2, "lists or objects nested too deeply, column 1"),
        ('{"a": ' * 100_000, 1, "lists or objects nested too deeply, column 7"),
        ("[\x00]", 1, ""),
        ('["a\x01"]', 1, ""),
    ],
)
def test_faults_have_a_line(text, line, what):
    with pytest.raises(DataError) as error:
        entries(text)
    message = str(error.value)
    assert message.startswith(f"f.json:{line}: not JSON ({what}")
    assert message.endswith("); a list is wanted")


@pytest.mark.parametrize(("text", "line"), [("3", 1), ('\n\n"a"', 3), ("null", 1)])
def test_neither_a_list_nor_an_object(text, line):
    with pytest.raises(DataError) as error:
        entries(text)
    assert str(error.value) == f"f.json:{line}: a list is wanted"


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-10, 10), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
)


@given(st.one_of(st.lists(VALUES, max_size=4), st.dictionaries(st.text(max_size=3), VALUES, max_size=4)))
def test_what_is_written_is_read(value):
    found = entries(simplejson.dumps(value, indent=1))
    if isinstance(value, dict):
        assert {entry.key: entry.value for entry in found} == value
    else:
        assert [entry.value for entry in found] == value


def test_whole_files(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\ufeff{"a": [1, "é"]}\n', encoding="utf-8")
    assert read_json(path, "wanted") == {"a": [1, "é"]}
    with pytest.raises(DataError) as error:
        read_json(tmp_path / "b.json", "it is a list")
    assert str(error.value) == f"{tmp_path / 'b.json'}: no such file; it is a list"
    assert text_of(path, "") == '{"a": [1, "é"]}\n'
