from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniformer_video.runtime.errors import UserError
from uniformer_video.video.picture_names import NumberedName, guess_template, list_pictures, parse_template
from uniformer_video.video.reader import DecodeError


def touch(folder, *names):
    for name in names:
        (folder / name).touch()
    return str(folder)


# Templates


@pytest.mark.parametrize(
    ("template", "before", "after", "digits"),
    [
        ("img_{:05d}.jpg", "img_", ".jpg", 5),
        ("img_%05d.jpg", "img_", ".jpg", 5),
        ("{:06}.png", "", ".png", 6),
        ("{}.jpg", "", ".jpg", 1),
        ("{0}.jpg", "", ".jpg", 1),
        ("{:d}.jpg", "", ".jpg", 1),
        ("{0:010d}.webp", "", ".webp", 10),
        ("%d.jpg", "", ".jpg", 1),
        ("%03i", "", "", 3),
        ("{{a}}_{:02d}.jpg", "{a}_", ".jpg", 2),
        ("100%%_%02d.jpg", "100%_", ".jpg", 2),
        ("a%d_{:02d}.jpg", "a%d_", ".jpg", 2),
        ("bild ä {:d}.bmp", "bild ä ", ".bmp", 1),
    ],
)
def test_templates(template, before, after, digits):
    assert parse_template(template) == NumberedName(before, after, digits)


ALLOWED = "allowed is a file name with one number in it, as img_{:05d}.jpg or img_%05d.jpg (DATA.IMAGE_TEMPLATE)"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("img.jpg", "has 0 numbers"),
        ("{:d}_{:d}.jpg", "has 2 numbers"),
        ("%d_%d.jpg", "has 2 numbers"),
        ("100%%.jpg", "has 0 numbers"),
        ("{{}}.jpg", "has 0 numbers"),
        ("{:5d}.jpg", "has the field '{:5d}'"),
        ("{name}.jpg", "has the field '{name}'"),
        ("{1}.jpg", "has the field '{1}'"),
        ("{:f}.jpg", "has the field '{:f}'"),
        ("{:x}.jpg", "has the field '{:x}'"),
        ("{!r}.jpg", "has the field '{!r}'"),
        ("%5d.jpg", "has the field '%5d'"),
        ("%s.jpg", "has the field '%s'"),
        ("%-05d.jpg", "has the field '%-05d'"),
        ("rgb/{:05d}.jpg", "names a folder"),
    ],
)
def test_bad_templates(template, message):
    with pytest.raises(UserError) as caught:
        parse_template(template)
    assert str(caught.value) == f"the picture template {template!r} {message}; {ALLOWED}"


@given(st.text(max_size=20))
@settings(max_examples=500)
def test_any_text_is_a_template_or_a_users_mistake(text):
    try:
        kind = parse_template(text)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert kind.number(f"{kind.before}{'7'.zfill(kind.digits)}{kind.after}") == 7


def plain(without: str):
    return st.text(st.characters(blacklist_characters="/\0" + without, blacklist_categories=["Cs"]), max_size=8)


def check(template: str, name: str, number: int) -> None:
    kind = parse_template(template)
    assert kind.number(name) == number
    assert parse_template(str(kind)) == kind
    assert kind.number(f"{name}x") is None


@given(plain(""), plain(""), st.integers(1, 12), st.integers(0, 10**9))
@settings(max_examples=300)
def test_python_templates_name_what_python_formats(before, after, digits, number):
    before, after = (text.replace("{", "{{").replace("}", "}}") for text in (before, after))
    template = f"{before}{{:0{digits}d}}{after}"
    check(template, template.format(number), number)


@given(plain("{}"), plain("{}"), st.integers(1, 12), st.integers(0, 10**9))
@settings(max_examples=300)
def test_printf_templates_name_what_printf_formats(before, after, digits, number):
    before, after = (text.replace("%", "%%") for text in (before, after))
    template = f"{before}%0{digits}d{after}"
    check(template, template % number, number)


@pytest.mark.parametrize(
    ("template", "name", "number"),
    [
        ("img_{:05d}.jpg", "img_00012.jpg", 12),
        ("img_{:05d}.jpg", "img_123456.jpg", 123456),
        ("img_{:05d}.jpg", "img_0012.jpg", None),
        ("img_{:05d}.jpg", "img_012345.jpg", None),
        ("img_{:05d}.jpg", "img_00012.JPG", None),
        ("img_{:05d}.jpg", "img_.jpg", None),
        ("img_{:05d}.jpg", "img_00012.jpg.tmp", None),
        ("img_{:05d}.jpg", "img_-0012.jpg", None),
        ("img_{:05d}.jpg", "img_٠٠٠١٢.jpg", None),
        ("{:d}.jpg", "7.jpg", 7),
        ("{:d}.jpg", "07.jpg", None),
        ("{:d}.jpg", "0.jpg", 0),
        ("{:d}a{{", "5a{", 5),
        ("ab{:d}ba", "aba", None),
    ],
)
def test_numbers_in_names(template, name, number):
    assert parse_template(template).number(name) == number


# Guessing


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (["img_00001.jpg", "img_00002.jpg"], ["img_{:05d}.jpg"]),
        (["1.png", "2.png", "10.png"], ["{:d}.png"]),
        (["001.JPG", "002.JPG", "cover.jpg"], ["{:03d}.JPG"]),
        # The right number is that which most names share all but.
        (["a1_001.jpg", "a1_002.jpg"], ["a1_{:03d}.jpg"]),
        (["0001_q80.webp", "0002_q80.webp", "0003_q80.webp"], ["{:04d}_q80.webp"]),
        (["x_1.jpg", "x_2.jpg", "flow_1.jpg"], ["x_{:d}.jpg"]),
        # One file: the last number.
        (["clip2_007.jpg"], ["clip2_{:03d}.jpg"]),
        # Equally many.
        (["img_1.jpg", "flow_1.jpg"], ["flow_{:d}.jpg", "img_{:d}.jpg"]),
        (["1.jpg", "1.png"], ["{:d}.jpg", "{:d}.png"]),
        # What is no picture does not count.
        (["1.jpg", "1.txt", "2.txt", ".2.jpg", "._1.jpg", "3.mp4"], ["{:d}.jpg"]),
        (["a{1}.jpg", "a{2}.jpg"], ["a{{{:d}}}.jpg"]),
        (["cover.jpg", "notes.txt"], []),
        ([], []),
    ],
)
def test_guesses(names, kinds):
    assert list(map(str, guess_template(names))) == kinds
    assert list(map(str, guess_template(reversed(names)))) == kinds


def test_zeros_or_not_is_one_kind():
    assert guess_template(["1.jpg", "02.jpg", "3.jpg"]) == [NumberedName("", ".jpg", 0)]


@given(st.lists(st.text(st.sampled_from("ab01_.{}%"), min_size=1, max_size=8).map(lambda s: s + ".jpg"), unique=True))
@settings(max_examples=300)
def test_a_guess_is_a_template_that_finds_its_files(names):
    kinds = guess_template(names)
    counts = set()
    for kind in kinds:
        found = {name for name in names if kind.number(name) is not None}
        counts.add(len(found))
        if kind.digits:
            again = parse_template(str(kind))
            assert {name for name in names if again.number(name) is not None} == found
    assert len(counts) <= 1


# Folders


def test_pictures_in_order_of_their_numbers(tmp_path):
    path = touch(tmp_path, "10.jpg", "9.jpg", "100.jpg", "1.jpg", "list.txt")
    assert list_pictures(path) == ["1.jpg", "9.jpg", "10.jpg", "100.jpg"]


def test_a_template_chooses(tmp_path):
    path = touch(tmp_path, "x_1.jpg", "y_1.jpg", "y_2.jpg", "y_03.jpg", "z_5.tiff")
    assert list_pictures(path) == ["y_1.jpg", "y_2.jpg", "y_03.jpg"]
    assert list_pictures(path, "x_{:d}.jpg") == ["x_1.jpg"]
    assert list_pictures(path, "y_%02d.jpg") == ["y_03.jpg"]
    assert list_pictures(path, "z_{}.tiff") == ["z_5.tiff"]


@pytest.mark.parametrize(
    ("names", "template", "cause"),
    [
        ([], "", "the folder holds no numbered picture (jpg, jpeg, png, webp, bmp); it is empty"),
        (["a.jpg"], "", "the folder holds no numbered picture (jpg, jpeg, png, webp, bmp); it holds a.jpg"),
        ([], "{}.jpg", "no picture is named {}.jpg; it is empty"),
        (
            ["c.mp4", "a.mp4", "e", "b", "d"],
            "img_{:05d}.jpg",
            "no picture is named img_{:05d}.jpg; it holds a.mp4, b, c.mp4 and 2 more",
        ),
        (
            ["u_01.jpg", "v_01.jpg"],
            "",
            "the folder holds equally many pictures of several kinds (u_{:02d}.jpg, v_{:02d}.jpg); choose one with "
            "DATA.IMAGE_TEMPLATE",
        ),
        (
            ["1.jpg", "2.jpg", "01.jpg"],
            "",
            "01.jpg and 1.jpg have the same number; choose with DATA.IMAGE_TEMPLATE",
        ),
    ],
)
def test_folders_without_clear_pictures(tmp_path, names, template, cause):
    with pytest.raises(DecodeError) as caught:
        list_pictures(touch(tmp_path, *names), template)
    assert (caught.value.path, caught.value.cause) == (str(tmp_path), cause)


def test_many_kinds_are_not_all_named(tmp_path):
    touch(tmp_path, *(f"{letter}_1.jpg" for letter in "abcde"))
    with pytest.raises(DecodeError, match=r"\(a_{:d}.jpg, b_{:d}.jpg, c_{:d}.jpg, ...\)"):
        list_pictures(str(tmp_path))


def test_no_folder(tmp_path):
    with pytest.raises(DecodeError, match="none: No such file or directory$"):
        list_pictures(str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(DecodeError, match="file: Not a directory$"):
        list_pictures(str(tmp_path / "file"))
