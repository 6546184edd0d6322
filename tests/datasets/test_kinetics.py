"""Lists of `path label` lines: every form that is understood, every mistake with its file and line."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.lists import error_of, read, write
from uniformer_video.datasets.kinetics import PROBED_FILES
from uniformer_video.datasets.records import VideoRecord

# ----------------------------------------------------------------------------------------------- what is understood


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_plain_list(folder, split):
    write(folder, "a.mp4 3\nb.mp4 0\nc.mp4 9\n", split)
    assert read(folder, split) == [
        VideoRecord(str(folder / "a.mp4"), 3),
        VideoRecord(str(folder / "b.mp4"), 0),
        VideoRecord(str(folder / "c.mp4"), 9),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a.mp4 1\nmy clip.mp4 2",  # no line break at the end
        "a.mp4 1\r\nmy clip.mp4 2\r\n",  # Windows
        "\ufeffa.mp4 1\nmy clip.mp4 2\n",  # byte order mark
        "\ufeff\r\n\r\na.mp4 1\r\n  \r\nmy clip.mp4 2\r\n\r\n",  # blank lines
        "a.mp4 1 \n  my clip.mp4 2\t\n",  # blanks around
        "a.mp4   1\nmy clip.mp4\t  2\n",
        "a.mp4 01\nmy clip.mp4 +2\n",
    ],
)
def test_line_ends_blanks_and_paths_with_spaces(folder, text):
    write(folder, text)
    assert [(os.path.basename(r.path), r.label) for r in read(folder)] == [("a.mp4", 1), ("my clip.mp4", 2)]


@pytest.mark.parametrize(
    ("separator", "text"),
    [
        (",", "a.mp4,1\nmy clip.mp4,2\n"),
        (",", "a.mp4, 1\nmy clip.mp4 ,2 \n"),
        ("\t", "a.mp4\t1\nmy clip.mp4\t2\n"),
        ("\t", "a.mp4\t1\r\nmy clip.mp4\t 2 \r\n"),
        (";", "a.mp4;1\nmy clip.mp4;2\n"),
        ("||", "a.mp4||1\nmy clip.mp4||2\n"),
    ],
)
def test_other_separators(folder, separator, text):
    write(folder, text)
    names = [(os.path.basename(r.path), r.label) for r in read(folder, separator=separator)]
    assert names == [("a.mp4", 1), ("my clip.mp4", 2)]


def test_the_last_separator_counts(folder):
    (folder / "x,y, 1.mp4").touch()
    write(folder, "x,y, 1.mp4,4\n")
    assert read(folder, separator=",") == [VideoRecord(str(folder / "x,y, 1.mp4"), 4)]


def test_a_prefix_goes_before_relative_paths_alone(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "z.mp4").touch()
    absolute = folder / "a.mp4"
    write(folder, f"z.mp4 1\n{absolute} 2\n")
    assert [r.path for r in read(folder, prefix=str(elsewhere))] == [str(elsewhere / "z.mp4"), str(absolute)]


def test_paths_are_relative_to_the_list(folder, tmp_path_factory, monkeypatch):
    here = tmp_path_factory.mktemp("here")
    (here / "a.mp4").touch()  # a file of the same name in the working directory changes nothing
    monkeypatch.chdir(here)
    write(folder, "a.mp4 1\nb.mp4 2\n")
    assert [r.path for r in read(folder)] == [str(folder / "a.mp4"), str(folder / "b.mp4")]


def test_paths_are_relative_to_the_working_directory_when_the_first_is_only_there(folder, monkeypatch):
    lists = folder / "lists"
    lists.mkdir()
    monkeypatch.chdir(folder)
    write(lists, "a.mp4 1\nb.mp4 2\n")
    assert [r.path for r in read(lists)] == ["a.mp4", "b.mp4"]


def test_addresses_stay_as_they_are(folder):
    write(folder, "https://host/v/a%20b.mp4 1\ns3://bucket/c.mp4 2\n")
    assert [r.path for r in read(folder)] == ["https://host/v/a%20b.mp4", "s3://bucket/c.mp4"]


def test_a_few_lost_files_are_no_error_of_the_list(folder):
    write(folder, "".join(f"lost{n}.mp4 1\n" for n in range(PROBED_FILES - 1)) + "a.mp4 1\n")
    assert len(read(folder)) == PROBED_FILES


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0/"), min_size=1, max_size=30).filter(
    lambda w: w == w.strip() and w not in (".", "..")
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(words, max_size=8),
    labels=st.lists(st.integers(0, 9), min_size=9, max_size=9),
    separator=st.sampled_from([" ", ",", "\t", ";", "::"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_is_written_is_read(folder, names, labels, separator, end):
    expected = [("a.mp4", labels[8]), *zip(names, labels, strict=False)]
    text = "".join(f"{name}{separator}{label}{end}" for name, label in expected)
    write(folder, "\ufeff" + text)
    records = read(folder, separator=separator)
    paths = [name if "://" in name else os.path.join(folder, name) for name, _ in expected]
    assert [(r.path, r.label) for r in records] == list(zip(paths, (label for _, label in expected), strict=True))


def test_a_path_with_a_unicode_line_separator_is_one_line(folder):
    name = "a\u2028b\x85c.mp4"
    (folder / name).touch()
    write(folder, f"{name} 5\nb.mp4 oops\n")
    assert error_of(folder).startswith(f"{folder / 'train.csv'}:2: ")
    write(folder, f"{name} 5\n")
    assert read(folder) == [VideoRecord(str(folder / name), 5)]


# ----------------------------------------------------------------------------------------------------- wrong lines


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        # A line without a label.
        ("a.mp4 1\nb.mp4\n", {}, ":2: no label after a ' ' in 'b.mp4'; a list is `path label` lines"),
        ("a.mp4 1\n\nb.mp4 \n", {}, ":3: no label after a ' ' in 'b.mp4 '; a list is `path label` lines"),
        ("a.mp4,1\nb.mp4,\n", {"separator": ","}, ":2: no label after a ',' in 'b.mp4,'; a list is `path,label` "
         "lines"),
        ("a.mp4,\n", {"separator": ","}, ":1: no label after a ',' in 'a.mp4,'; a list is `path,label` lines"),
        ("a.mp4\t1\nb.mp4\t\n", {"separator": "\t"}, ":2: no label after a '\\t' in 'b.mp4\\t'; a list is "
         "`path\\tlabel` lines"),
        ("my clip.mp4\n", {}, ":1: label 'clip.mp4' is no whole number; a list is `path label` lines"),
        (",3\n", {"separator": ","}, ":1: no path before a ',' in ',3'; a list is `path,label` lines"),
        # Another separator.
        ("a.mp4,1\n", {}, ":1: no label after a ' ' in 'a.mp4,1'; if ',' separates them, set "
         "DATA.PATH_LABEL_SEPARATOR ','"),
        ("a.mp4\t1\n", {}, ":1: no label after a ' ' in 'a.mp4\\t1'; if '\\t' separates them, set "
         "DATA.PATH_LABEL_SEPARATOR '\\t'"),
        ("a.mp4;1\n", {}, ":1: no label after a ' ' in 'a.mp4;1'; if ';' separates them, set "
         "DATA.PATH_LABEL_SEPARATOR ';'"),
        ("a.mp4 1\n", {"separator": ","}, ":1: no label after a ',' in 'a.mp4 1'; if ' ' separates them, set "
         "DATA.PATH_LABEL_SEPARATOR ' '"),
        ("my clip.mp4,1\n", {}, ":1: label 'clip.mp4,1' is no whole number; a list is `path label` lines; if ',' "
         "separates them, set DATA.PATH_LABEL_SEPARATOR ','"),
        # A header.
        ("path label\na.mp4 1\n", {}, ":1: 'path label' looks like a header; remove it (a list is `path label` lines "
         "alone)"),
        ("\ufeffpath,label\r\na.mp4,1\r\n", {"separator": ","}, ":1: 'path,label' looks like a header; remove it "
         "(a list is `path,label` lines alone)"),
        ("path,label\na.mp4,1\n", {}, ":1: 'path,label' looks like a header; remove it (a list is `path label` lines "
         "alone)"),
        ("video;class\n", {"separator": ","}, ":1: 'video;class' looks like a header; remove it (a list is "
         "`path,label` lines alone)"),
        ("video file\tclass\n", {"separator": ","}, ":1: 'video file\\tclass' looks like a header; remove it (a list "
         "is `path,label` lines alone)"),
        # Not on another line than the first, nor with a number where the label is.
        ("a.mp4 1\npath,label\n", {}, ":2: no label after a ' ' in 'path,label'; if ',' separates them, set "
         "DATA.PATH_LABEL_SEPARATOR ','"),
        ("path,label1\n", {}, ":1: no label after a ' ' in 'path,label1'; if ',' separates them, set "
         "DATA.PATH_LABEL_SEPARATOR ','"),
        # A label that is no class.
        ("a.mp4 1\nb.mp4 ten\n", {}, ":2: label 'ten' is no whole number; a list is `path label` lines"),
        ("a.mp4 1.0\n", {}, ":1: label '1.0' is no whole number; a list is `path label` lines"),
        ("a.mp4 9\nb.mp4 10\n", {}, ":2: label 10 is outside 0 to 9 (MODEL.NUM_CLASSES 10); correct the one "
         "or the other"),
        ("a.mp4 -1\n", {}, ":1: label -1 is outside 0 to 9 (MODEL.NUM_CLASSES 10); correct the one or the other"),
        ("a.mp4 3\n", {"num_classes": 3}, ":1: label 3 is outside 0 to 2 (MODEL.NUM_CLASSES 3); correct the one "
         "or the other"),
        ("a.mp4 1_0\n", {}, ":1: label '1_0' is no whole number; a list is `path label` lines"),
        ("a.mp4 " + "9" * 5000 + "\n", {}, ":1: label '" + "9" * 77 + "...' is no whole number; a list is `path label` "
         "lines"),
        ("a\0.mp4 1\n", {}, ":1: the path 'a\\x00.mp4' holds a NUL character; remove it"),
        # The blank lines before count.
        ("\n\n\r\na.mp4 99\n", {}, ":4: label 99 is outside 0 to 9 (MODEL.NUM_CLASSES 10); correct the one or the "
         "other"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named(folder, text, options, message):
    path = write(folder, text)
    assert error_of(folder, **options) == f"{path}{message}"


def test_a_long_line_is_cut_in_the_message(folder):
    line = "v" * 500
    write(folder, line + "\n")
    assert error_of(folder) == (
        f"{folder / 'train.csv'}:1: no label after a ' ' in {'v' * 77 + '...'!r}; a list is `path label` lines"
    )


def test_a_line_too_long_for_a_file_name_is_no_defect_of_ours(folder):
    write(folder, "v" * 5000 + " 1\n")
    assert "none of its first 1 videos exists" in error_of(folder)


# ----------------------------------------------------------------------------------------------------- wrong files


def test_no_folder_is_set():
    assert error_of("") == (
        "DATA.PATH_TO_DATA_DIR is not set; set it to the folder that holds train.csv, val.csv and test.csv, such as "
        "tools/prepare_dataset.py makes of your videos (`make demo` shows the toolkit on generated ones)"
    )


def test_a_folder_that_is_none(folder):
    for path in (folder / "nowhere", folder / "a.mp4"):
        assert error_of(path) == (
            f"DATA.PATH_TO_DATA_DIR {str(path)!r} is no folder; set it to the folder that holds train.csv, val.csv and "
            "test.csv, such as tools/prepare_dataset.py makes of your videos (`make demo` shows the toolkit on "
            "generated ones)"
        )


def test_a_list_that_is_missing(folder):
    path = folder / "val.csv"
    assert error_of(folder, "val") == f"{path}: no such list; write one with a `path label` on each line"
    assert error_of(folder, "val", separator=",") == f"{path}: no such list; write one with a `path,label` on each line"
    # A tab is written out, so that it does not look like a blank.
    assert error_of(folder, "val", separator="\t") == (
        f"{path}: no such list; write one with a `path\\tlabel` on each line"
    )


@pytest.mark.parametrize("text", ["", "\n", "\ufeff\r\n  \r\n"])
def test_an_empty_list(folder, text):
    path = write(folder, text)
    assert error_of(folder) == f"{path}: an empty list; write one with a `path label` on each line"


@pytest.mark.parametrize("content", [b"a.mp4 1\n\xff\xfe\x00", "a.mp4 1\n".encode("utf-16")])
def test_a_list_that_is_no_text(folder, content):
    path = write(folder, content)
    assert error_of(folder).startswith(f"{path}: cannot be read as UTF-8 text (")


def test_a_list_that_is_a_folder(folder):
    (folder / "train.csv").mkdir()
    assert error_of(folder).startswith(f"{folder / 'train.csv'}: cannot be read as UTF-8 text (")


def test_none_of_the_videos_exists(folder):
    path = write(folder, "x/a.mp4 1\nx/b.mp4 2\n")
    assert error_of(folder) == (
        f"{path}: none of its first 2 videos exists, for example {folder}/x/a.mp4; correct the list or set "
        "DATA.PATH_PREFIX (it is not set)"
    )
    assert error_of(folder, prefix="/no/such") == (
        f"{path}: none of its first 2 videos exists, for example /no/such/x/a.mp4; correct the list or set "
        "DATA.PATH_PREFIX (it is '/no/such')"
    )


# -------------------------------------------------------------------------------------------------------- warnings


def test_a_test_list_of_one_label_is_warned_about(folder, log):
    path = write(folder, "a.mp4 4\nb.mp4 4\n", "test")
    assert len(read(folder, "test")) == 2
    assert log == [f"WARNING: {path}: all 2 labels are 4; the accuracy will say little"]


@pytest.mark.parametrize(
    ("split", "text"),
    [("train", "a.mp4 4\nb.mp4 4\n"), ("test", "a.mp4 4\n"), ("test", "a.mp4 4\nb.mp4 5\n")],
)
def test_no_warning_otherwise(folder, log, split, text):
    write(folder, text, split)
    read(folder, split)
    assert log == []
