"""Weights by name, path or address: where they are looked for, in which order, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.http_server import Answer, FileServer, file_server
from tests.models.published import saved, tiny
from tests.toy import log
from uniformer_video.models import zoo
from uniformer_video.models.published import NETWORKS, Network
from uniformer_video.models.weights import read_weights
from uniformer_video.models.zoo import ZOO, Resolved, address, fault, find_weights, resolve
from uniformer_video.runtime.errors import UserError, WeightError
from uniformer_video.runtime.web import Limits

__all__ = ["log"]

NAME, UNCHECKED, NOWHERE = "uniformer_small_in1k", "uniformer_xxs_160_in1k", "uniformer_small_k400_16x4"
CONTENT = random.Random(0).randbytes(5000)
OTHER = random.Random(1).randbytes(5000)
SHA, SHA_OTHER = (hashlib.sha256(data).hexdigest() for data in (CONTENT, OTHER))
QUICK = Limits(tries=2, pause_seconds=0.001)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """Return an empty cache; no other place of weights is set."""
    for name in ("UNIFORMER_WEIGHTS", "UNIFORMER_ZOO_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def entry(monkeypatch, cache, server):
    """Return a row of the zoo whose file lies on the server."""
    url = server.serve(f"/{NAME}.pth", Answer(CONTENT))
    new = replace(ZOO[NAME], url=url, sha256=SHA, bytes=len(CONTENT))
    monkeypatch.setitem(ZOO, NAME, new)
    return new


@pytest.fixture
def unchecked(monkeypatch, cache, server, tmp_path) -> bytes:
    """Make UNCHECKED, a row without hash, a network that takes no time to write, and return its file's bytes."""
    kwargs = {"num_classes": 1000, "depths": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "head_dim": 8, "image": True}
    monkeypatch.setitem(NETWORKS, "tiny_image", Network("Uniformer", kwargs))
    url = f"{server.url}/{UNCHECKED}.pth"
    monkeypatch.setitem(ZOO, UNCHECKED, replace(ZOO[UNCHECKED], network="tiny_image", url=url))
    data = Path(saved(NETWORKS["tiny_image"].build().state_dict(), tmp_path / "published")).read_bytes()
    server.serve(f"/{UNCHECKED}.pth", Answer(data))
    return data


def weights(folder: Path) -> bytes:
    """Return the bytes of a file of weights."""
    return Path(saved(tiny().state_dict(), folder / "weights")).read_bytes()


def put(folder: Path, name: str, data: bytes = CONTENT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return folder / name


def error_of(*args, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        resolve(*args, limits=QUICK, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestByName:
    def test_downloaded_once(self, entry, server, cache):
        path = cache / f"{NAME}.pth"
        for _ in range(2):
            assert resolve(NAME) == Resolved(str(path), entry)
        assert path.read_bytes() == CONTENT
        assert len(server.asked) == 1

    @pytest.mark.parametrize("suffix", [".pth", ".pyth", ".safetensors"])
    def test_with_an_ending(self, entry, cache, suffix):
        assert resolve(NAME + suffix).entry == entry

    def test_by_its_published_address(self, entry, server, cache):
        assert resolve(entry.url) == Resolved(str(cache / f"{NAME}.pth"), entry)

    def test_a_folder_given_goes_before_that_of_the_environment_before_the_cache(
        self, entry, server, cache, tmp_path, monkeypatch
    ):
        places = [put(tmp_path / where, f"{NAME}.pth") for where in ("given", "environment", "cache")]
        monkeypatch.setenv("UNIFORMER_WEIGHTS", str(tmp_path / "environment"))
        for place in places:
            assert resolve(NAME, folder=str(tmp_path / "given")).path == str(place)
            assert find_weights(NAME, str(tmp_path / "given")) == place
            place.unlink()
        assert server.asked == []
        assert find_weights(NAME, str(tmp_path / "given")) is None

    def test_endings_in_their_order(self, entry, tmp_path, cache):
        places = [put(tmp_path / "mine", f"{NAME}{suffix}") for suffix in (".pth", ".pyth", ".safetensors")]
        for place in places:
            assert resolve(NAME, folder=str(tmp_path / "mine")) == Resolved(str(place), entry)
            place.unlink()

    def test_a_home_folder(self, entry, cache, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        put(tmp_path / "weights", f"{NAME}.pth")
        assert resolve(NAME, folder="~/weights").path == str(tmp_path / "weights" / f"{NAME}.pth")

    @pytest.mark.parametrize("where", ["argument", "environment"])
    def test_a_folder_that_is_none(self, cache, tmp_path, monkeypatch, where):
        if where == "environment":
            monkeypatch.setenv("UNIFORMER_WEIGHTS", str(tmp_path / "none"))
        message = error_of(NAME, folder=str(tmp_path / "none") if where == "argument" else "")
        what = "UNIFORMER_WEIGHTS" if where == "environment" else "UNIFORMER.WEIGHTS_DIR (--folder)"
        assert message == (
            f"{what} '{tmp_path / 'none'}' is no folder; set it to one that holds weight files, or to nothing"
        )

    def test_a_row_without_hash_is_taken_with_a_line(self, unchecked, cache, log):
        assert resolve(UNCHECKED).path == str(cache / f"{UNCHECKED}.pth")
        size, sha256 = f"{len(unchecked) / 1e3:.1f} kB", hashlib.sha256(unchecked).hexdigest()
        assert log[-1] == (
            f"INFO: downloaded {UNCHECKED}: {size}, no published sha256 to check against, its own is {sha256}, in "
            f"{cache / UNCHECKED}.pth"
        )

    def test_forced(self, entry, server, cache, tmp_path, monkeypatch):
        path = cache / f"{NAME}.pth"
        resolve(NAME)
        assert resolve(NAME, force=True).path == str(path)
        assert len(server.asked) == 2
        put(tmp_path / "mine", f"{NAME}.pth")
        assert resolve(NAME, folder=str(tmp_path / "mine"), force=True).path == str(path)
        assert len(server.asked) == 3

    @pytest.mark.parametrize("name", [NAME, f"{NAME}.pth"])
    def test_a_folder_of_that_name_hides_nothing(self, entry, server, cache, tmp_path, name):
        (tmp_path / name).mkdir()
        assert resolve(name) == Resolved(str(cache / f"{NAME}.pth"), entry)


class TestWrongFiles:
    def test_another_file_under_the_name_in_a_users_folder(self, entry, server, cache, tmp_path):
        path = put(tmp_path / "mine", f"{NAME}.pth", OTHER)
        assert error_of(NAME, folder=str(tmp_path / "mine")) == (
            f"{path} is not the published {NAME}: its sha256 is {SHA_OTHER}, that of the published file {SHA}; remove "
            "it, or give its path in place of the name"
        )
        assert path.read_bytes() == OTHER
        assert server.asked == []

    def test_a_truncated_one(self, entry, cache, tmp_path):
        put(tmp_path / "mine", f"{NAME}.pth", CONTENT[:-1])
        assert ": it has 4999 bytes, the published file 5000; " in error_of(NAME, folder=str(tmp_path / "mine"))

    def test_in_the_cache_it_is_downloaded_again(self, entry, cache, log):
        path = put(cache, f"{NAME}.pth", OTHER)
        assert resolve(NAME).path == str(path)
        assert path.read_bytes() == CONTENT
        assert log[0] == (
            f"WARNING: {path} is not the published {NAME}: its sha256 is {SHA_OTHER}, that of the published file "
            f"{SHA}; it is downloaded again"
        )

    def test_a_converted_file_has_another_hash_and_passes(self, entry, cache, tmp_path):
        path = put(tmp_path / "mine", f"{NAME}.safetensors", OTHER)
        assert resolve(NAME, folder=str(tmp_path / "mine")).path == str(path)


class TestWithoutHash:
    """A download that no hash can check is looked into before it is taken."""

    POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 96000000\n"

    @pytest.mark.parametrize(
        ("data", "fault"),
        [
            (b'{"error": "no such revision here"}', 'it is text, not a PyTorch file (it begins \'{"error": '),
            (POINTER, "it is text, not a PyTorch file (it begins 'version https://git-lfs.github.com/spec/"),
            (b"\x80\x02junk", "it is damaged or holds more than tensors"),
        ],
    )
    def test_no_weights(self, unchecked, server, cache, data, fault):
        url = server.serve(f"/{UNCHECKED}.pth", Answer(data))
        message = error_of(UNCHECKED)
        assert message.startswith(f"what came from {url} is corrupt or another file and was removed: {fault}")
        assert message.endswith(
            f"; put the file at {cache / UNCHECKED}.pth or set UNIFORMER_WEIGHTS to the folder that holds it"
        )
        assert os.listdir(cache) == []
        url = server.serve("/mine.pth", Answer(data))
        assert error_of(url).startswith(f"what came from {url} is corrupt or another file and was removed: {fault}")
        assert os.listdir(cache / "urls") == []

    def test_an_answer_without_a_length_that_ends_early(self, unchecked, server, cache):
        server.serve(f"/{UNCHECKED}.pth", Answer(unchecked, announced=-1, cut_after=len(unchecked) // 4))
        assert "was removed: it is truncated or not a PyTorch file; put the file" in error_of(UNCHECKED)
        assert os.listdir(cache) == []

    def test_weights_of_another_network(self, unchecked, server, cache, tmp_path):
        server.serve(f"/{UNCHECKED}.pth", Answer(weights(tmp_path)))
        assert (
            "was removed: it is Uniformer for video, of no published size with 5 classes, not tiny_image with 1000 "
            "classes; put the file at"
        ) in error_of(UNCHECKED)
        assert os.listdir(cache) == []

    def test_no_tensors_at_an_address(self, server, cache, tmp_path):
        data = Path(saved({"a": 1}, tmp_path / "a")).read_bytes()
        assert "was removed: it holds no tensors (keys: a)" in error_of(server.serve("/mine.pth", Answer(data)))

    def test_a_file_that_another_installation_could_read_is_kept(self, server, cache, monkeypatch):
        save = pytest.importorskip("safetensors.torch").save
        url = server.serve("/mine.safetensors", Answer(save(tiny().state_dict())))
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "safetensors.torch", None)
            assert error_of(url).endswith('not installed: pip install "uniformer_video[safetensors]"')
        assert Path(resolve(url).path).stat().st_size > 0
        assert [bool(text) for text in server.ranges()] == [False, True]

    def test_a_damaged_file_that_is_in_the_cache_already_is_named(self, unchecked, cache):
        path = put(cache, f"{UNCHECKED}.pth", b"{}")
        with pytest.raises(WeightError) as caught:
            read_weights(resolve(UNCHECKED).path)
        assert str(caught.value) == (
            f"weight file '{path}' is text, not a PyTorch file (it begins '{{}}'); remove {path} to have it fetched "
            "again"
        )


class TestFailures:
    def test_no_known_address(self, cache):
        assert error_of(NOWHERE) == (
            f"the published weights {NOWHERE} have no known address on the web; put the file at "
            f"{cache / NOWHERE}.pth or set UNIFORMER_WEIGHTS to the folder that holds it"
        )

    def test_the_folder_in_the_advice_is_the_users_own(self, cache, tmp_path):
        (tmp_path / "mine").mkdir()
        assert f"put the file at {tmp_path / 'mine' / NOWHERE}.pth or" in error_of(
            NOWHERE, folder=str(tmp_path / "mine")
        )

    def test_not_found(self, entry, server, cache):
        url = server.serve(f"/{NAME}.pth", Answer(status=404))
        assert error_of(NAME) == (
            f"{url} cannot be downloaded: the server answers 404 Not Found; nothing was kept; put the file at "
            f"{cache / NAME}.pth or set UNIFORMER_WEIGHTS to the folder that holds it"
        )

    def test_corrupt(self, entry, server, cache):
        url = server.serve(f"/{NAME}.pth", Answer(OTHER))
        assert error_of(NAME).startswith(f"what came from {url} is corrupt or another file and was removed: its sha256")
        assert os.listdir(cache) == []

    def test_an_unknown_name(self, cache):
        assert error_of("uniformer_smal_in1k") == (
            "there is no weight file 'uniformer_smal_in1k', and no published weights have that name; nearest: "
            "uniformer_small_in1k, uniformer_small_plus_in1k, uniformer_base_in1k (python tools/zoo.py list shows all)"
        )

    def test_a_name_like_none(self, cache):
        assert error_of("???") == (
            "there is no weight file '???', and no published weights have that name; python tools/zoo.py list "
            "shows the names"
        )

    @pytest.mark.parametrize("text", ["weights/none.pth", f"weights/{NAME}.pth", "", "\0", "~nobody/a.pth"])
    def test_a_path_to_nothing(self, cache, text):
        assert error_of(text) == (
            f"there is no weight file {text!r}, and no published weights have that name; python tools/zoo.py list "
            "shows the names"
        )

    def test_a_folder(self, cache, tmp_path):
        assert error_of(str(tmp_path)).startswith(f"{str(tmp_path)!r} is a folder; give a weight file in it")


class TestByPath:
    def test_a_file(self, cache, tmp_path):
        path = put(tmp_path, "mine.pyth")
        assert resolve(path) == Resolved(str(path), None)
        assert resolve("mine.pyth") == Resolved("mine.pyth", None)

    def test_a_file_goes_before_a_name(self, entry, cache, tmp_path):
        put(tmp_path, NAME, OTHER)
        assert resolve(NAME) == Resolved(NAME, None)

    def test_a_published_file_is_known_wherever_it_lies(self, entry, cache, tmp_path):
        path = put(tmp_path / "downloads", f"{NAME}.pth")
        assert resolve(path) == Resolved(str(path), entry)

    def test_a_published_file_is_known_under_any_name(self, entry, cache, tmp_path):
        path = put(tmp_path / "downloads", "weights.bin")
        assert resolve(path) == Resolved(str(path), entry)
        path = put(tmp_path / "downloads", "other.bin", OTHER)  # of the same size
        assert resolve(path) == Resolved(str(path), None)

    def test_no_hash_is_computed_of_a_file_of_another_size(self, entry, cache, tmp_path, monkeypatch):
        monkeypatch.setattr(zoo, "sha256_of", lambda path: pytest.fail("hashed"))
        path = put(tmp_path / "downloads", f"{NAME}.pth", OTHER[:-1])
        assert resolve(path) == Resolved(str(path), None)

    def test_one_that_only_bears_the_name_is_not(self, entry, cache, tmp_path):
        path = put(tmp_path / "downloads", f"{NAME}.pth", OTHER)
        assert resolve(path) == Resolved(str(path), None)
        path = put(tmp_path / "downloads", f"{NOWHERE}.pth", OTHER)
        assert resolve(path) == Resolved(str(path), None)

    def test_an_address_of_another_kind_is_left_to_iopath(self, cache):
        assert resolve("s3://bucket/a.pth") == Resolved("s3://bucket/a.pth", None)


class TestByAddress:
    def test_any_address_goes_through_the_cache(self, server, cache, tmp_path, log):
        data = weights(tmp_path)
        url = server.serve("/mine.pyth", Answer(data))
        found = resolve(url)
        assert found.entry is None
        assert Path(found.path).read_bytes() == data
        assert Path(found.path).parent == cache / "urls"
        assert resolve(url, limits=QUICK) == found
        assert log[-1].endswith(f"; remove {found.path} to fetch it again")
        resolve(url, force=True)
        assert [bool(asked.condition) for asked in server.asked] == [False, True, False]

    @pytest.mark.parametrize("url", ["http://[::1", "https://[x]/a.pth"])
    def test_no_address(self, cache, url):
        assert error_of(url).startswith(f"{url!r} is no web address (")

    def test_a_failure(self, server, cache):
        assert error_of(f"{server.url}/none.pyth") == (
            f"{server.url}/none.pyth cannot be downloaded: the server answers 404 Not Found; nothing was kept; put the "
            "file on this machine and give its path"
        )


class TestMirror:
    @pytest.mark.parametrize("end", ["", "/"])
    def test_takes_the_place_of_every_address(self, entry, unchecked, server, cache, monkeypatch, end):
        server.serve(f"/mirror/{NAME}.pth", Answer(CONTENT))
        server.serve(f"/mirror/{UNCHECKED}.pth", Answer(unchecked))
        monkeypatch.setenv("UNIFORMER_ZOO_MIRROR", f"{server.url}/mirror{end}")
        assert address(entry) == f"{server.url}/mirror/{NAME}.pth"
        resolve(NAME)
        assert Path(resolve(UNCHECKED).path).read_bytes() == unchecked
        assert [asked.path for asked in server.asked] == [f"/mirror/{NAME}.pth", f"/mirror/{UNCHECKED}.pth"]

    def test_what_is_no_address(self, cache, monkeypatch):
        monkeypatch.setenv("UNIFORMER_ZOO_MIRROR", "mirror.example.org")
        expected = "UNIFORMER_ZOO_MIRROR 'mirror.example.org' is no web address; it looks like https://host/folder"
        assert error_of(NAME) == expected

    def test_none(self, cache):
        assert address(ZOO[NAME]) == ZOO[NAME].url
        assert address(ZOO[NOWHERE]) is None


class TestFault:
    @pytest.fixture
    def counted(self, monkeypatch):
        """Return the files whose hash was computed."""
        calls = []
        compute = zoo.sha256_of
        monkeypatch.setattr(zoo, "sha256_of", lambda path: calls.append(Path(path).name) or compute(path))
        return calls

    def test_the_hash_is_computed_once_for_a_state_of_a_file(self, entry, tmp_path, counted):
        path = put(tmp_path, f"{NAME}.pth")
        assert [fault(path, entry) for _ in range(3)] == [""] * 3
        assert counted == [path.name]
        os.utime(path, ns=(1, 1))
        assert fault(path, entry) == ""
        assert len(counted) == 2
        path.write_bytes(OTHER)
        assert fault(path, entry) == f"its sha256 is {SHA_OTHER}, that of the published file {SHA}"
        assert len(counted) == 3

    def test_a_download_is_not_hashed_again(self, entry, counted):
        resolve(NAME)
        resolve(NAME)
        assert counted == []

    def test_what_was_remembered_can_be_put_aside(self, entry, tmp_path, counted):
        path = put(tmp_path, f"{NAME}.pth")
        assert [fault(path, entry, remember=False) for _ in range(2)] == ["", ""]
        assert len(counted) == 2

    def test_another_size_needs_no_hash(self, entry, tmp_path, counted):
        assert fault(put(tmp_path, f"{NAME}.pth", b"x"), entry) == "it has 1 bytes, the published file 5000"
        assert counted == []

    def test_nothing_to_compare(self, entry, tmp_path, counted):
        assert fault(put(tmp_path, "a.pth", OTHER), replace(entry, sha256=None)) == ""
        assert fault(put(tmp_path, "a.safetensors", b"x"), entry) == ""
        assert counted == []

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"x": 1}', "null"])
    def test_a_damaged_memory_is_none(self, entry, cache, tmp_path, text):
        put(cache, "checked.json", text.encode())
        path = put(tmp_path, f"{NAME}.pth")
        assert fault(path, entry) == ""
        assert json.loads((cache / "checked.json").read_text())[str(path.resolve())][2] == SHA

    def test_a_memory_that_cannot_be_replaced_forgets(self, entry, cache, tmp_path, counted):
        (cache / "checked.json").mkdir(parents=True)
        path = put(tmp_path, f"{NAME}.pth")
        assert [fault(path, entry) for _ in range(2)] == ["", ""]
        assert len(counted) == 2
        assert [p.name for p in cache.iterdir()] == ["checked.json"]

    def test_an_entry_of_another_form_is_not_believed(self, entry, cache, tmp_path):
        path = put(tmp_path, f"{NAME}.pth")
        put(cache, "checked.json", json.dumps({str(path.resolve()): "x"}).encode())
        assert fault(path, entry) == ""

    def test_a_cache_that_cannot_be_written_forgets(self, entry, tmp_path, monkeypatch, counted):
        put(tmp_path, "file")
        monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path / "file"))
        path = put(tmp_path, f"{NAME}.pth")
        assert [fault(path, entry) for _ in range(2)] == ["", ""]
        assert len(counted) == 2


def test_a_cache_that_was_removed_is_made_anew(entry, cache):
    resolve(NAME)
    shutil.rmtree(cache)
    assert Path(resolve(NAME).path).read_bytes() == CONTENT


def test_the_error_is_one_of_weights(cache):
    with pytest.raises(WeightError):
        resolve(NOWHERE)
