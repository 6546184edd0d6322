"""Places that cannot take results, and files that results must not replace."""

from __future__ import annotations

import os

import pytest

from uniformer_video.engine.predict_places import LabelledPlaces, check_places, paths_beside
from uniformer_video.runtime.errors import UserError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("clip.mp4", "list.txt", "list.csv", "net.pyth", "sub/other.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link.json").symlink_to("list.csv")
    return tmp_path


def check(videos=("clip.mp4",), read=("net.pyth", "", "list.txt", "list.csv"), **places):
    check_places(**places, read=read, videos=videos)


def test_places_that_do(here):
    check()
    check(json="-", csv="-")
    check(json="a.json", csv="sub/a.csv", features="f.npz", video="out.mp4")
    check(json=str(here / "a.json"), features="F.NPY", video="labelled")
    check(features="parts/of/it", video="sub")
    assert os.path.isdir("labelled") and os.path.isdir("parts/of/it")
    assert sorted(os.listdir("sub")) == ["other.mp4"]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"json": "no/a.json"}, r"^--json 'no/a\.json' cannot be written: .*no' is no folder; make it first$"),
        ({"csv": "no/a.csv"}, "--csv 'no/a.csv' cannot be written"),
        ({"features": "no/f.npz"}, "--features 'no/f.npz' cannot be written"),
        ({"video": "no/out.mp4"}, "--video 'no/out.mp4' cannot be written"),
        ({"json": "sub"}, "--json 'sub' is a folder; give the name of a file"),
        ({"video": "clip.mp4"}, "--video 'clip.mp4' is the input itself; give another name"),
        ({"video": "out.xyz"}, "videos are written to files that end in"),
        ({"features": "f.txt"}, "--features 'f.txt': features are written to files that end in .npz or .npy, or to a"),
        ({"features": "clip.mp4/f"}, "--features 'clip.mp4/f' cannot be written"),
        ({"csv": "list.csv"}, "--csv would write over 'list.csv', which this command reads; give another name"),
        ({"csv": "sub/../list.csv"}, "--csv would write over"),
        ({"json": "link.json"}, "--json would write over 'link.json', which this command reads"),
        ({"json": "clip.mp4"}, "--json would write over 'clip.mp4', which this command reads"),
        ({"json": "net.pyth"}, "--json would write over 'net.pyth', which this command reads"),
        ({"features": "list.npy"}, "--features would write over 'list.txt', which this command reads"),
        ({"json": "a.out", "csv": "a.out"}, "--csv would write over 'a.out', which --json writes too"),
    ],
)
def test_places_that_do_not(here, places, message):
    with pytest.raises(UserError, match=message) as caught:
        check(**places)
    assert "\n" not in str(caught.value)


def test_one_file_for_several_videos(here):
    with pytest.raises(UserError, match="--video 'out.mp4' is one file for 2 videos; give a folder"):
        check(["clip.mp4", "sub/other.mp4"], video="out.mp4")


def labelled(target, *videos):
    """Return the files for ``(path, name)`` of some videos, in their order."""
    places = LabelledPlaces(target, [path for path, _ in videos])
    return [str(places.place(name)) for _, name in videos]


class TestLabelled:
    def test_a_file_and_a_folder_elsewhere(self, here):
        assert labelled("out.mp4", ("clip.mp4", "clip")) == ["out.mp4"]
        assert labelled("new", ("clip.mp4", "clip"), ("sub/other.mp4", "other")) == ["new/clip.mp4", "new/other.mp4"]
        assert labelled("new", ("https://host/clip.mp4", "clip")) == ["new/clip.mp4"]

    @pytest.mark.parametrize("target", ["sub", "sub/", "./sub/../sub", "link"])
    def test_beside_an_input(self, here, target):
        (here / "link").symlink_to("sub")
        (place,) = labelled(target, ("sub/other.avi", "other"))  # other.mp4, a film of its own, is there
        assert os.path.realpath(place) == str(here / "sub/other.labelled.mp4")
        assert labelled(".", ("sub/other.avi", "other")) == ["other.mp4"]

    def test_beside_any_input(self, here):
        assert labelled("sub", ("clip.mp4", "clip"), ("sub/other.mp4", "other")) == [
            "sub/clip.labelled.mp4",
            "sub/other.labelled.mp4",
        ]

    def test_an_input_that_is_a_link(self, here):
        (here / "sub/link.mkv").symlink_to("../clip.mp4")
        assert labelled("sub", ("sub/link.mkv", "link")) == ["sub/link.labelled.mp4"]
        assert labelled(".", ("sub/link.mkv", "clip")) == ["clip.labelled.mp4"]
        (here / "new").mkdir()
        (here / "new/clip.mp4").symlink_to("../clip.mp4")  # leads to the input
        assert labelled("new", ("clip.mp4", "clip")) == ["new/clip.labelled.mp4"]

    def test_neither_an_input_nor_each_other(self, here):
        """The second time that all of a folder is labelled, the videos of the first time are inputs."""
        videos = [("v/a.labelled.mp4", "a.labelled"), ("v/a.mp4", "a"), ("v/b.mp4", "b")]
        for order in (videos, videos[::-1]):
            places = labelled("v", *order)
            assert len({*places, *(path for path, _ in videos)}) == 6


def test_the_paths_of_features():
    assert paths_beside("a/f.npy") == "a/f.txt"
