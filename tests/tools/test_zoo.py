"""The zoo's command line: its table, its exit codes, and one line for each thing that can go wrong."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.http_server import Answer, FileServer, file_server
from tests.models.published import TINY, flattened, saved, tiny
from tools import zoo
from uniformer_video.datasets.label_sets import label_set
from uniformer_video.models.inspect import class_names_in
from uniformer_video.models.published import NETWORKS, Network
from uniformer_video.models.weights import read_content, read_weights
from uniformer_video.models.zoo import ZOO

ROOT = Path(__file__).resolve().parents[2]
NAME, NOWHERE, UNCHECKED = "uniformer_small_in1k", "uniformer_small_k400_16x4", "uniformer_xxs_160_in1k"
CONTENT, OTHER = random.Random(0).randbytes(50_000), random.Random(1).randbytes(50_000)
SHA, SHA_OTHER = (hashlib.sha256(data).hexdigest() for data in (CONTENT, OTHER))
TOY = """\
MODEL: {NUM_CLASSES: 5}
UNIFORMER: {DEPTH: [1, 2, 2, 1], EMBED_DIM: [8, 16, 24, 32], HEAD_DIM: 8}
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path, server, logger_restored) -> Path:
    """Return an empty cache; the zoo's files lie on the server, NAME's with CONTENT."""
    monkeypatch.delenv("UNIFORMER_WEIGHTS", raising=False)
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UNIFORMER_ZOO_MIRROR", server.url)
    monkeypatch.setitem(ZOO, NAME, replace(ZOO[NAME], sha256=SHA, bytes=len(CONTENT)))
    server.serve(f"/{NAME}.pth", Answer(CONTENT))
    return tmp_path / "cache"


@pytest.fixture
def run(capsys) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = zoo.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


class TestList:
    def test_a_table(self, run, cache, tmp_path, monkeypatch):
        monkeypatch.delenv("UNIFORMER_ZOO_MIRROR")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / f"{NOWHERE}.pyth").write_bytes(b"x")
        code, out, err = run("list", "--folder", tmp_path / "mine")
        lines = out.splitlines()
        assert (code, err, len(lines)) == (0, "", 1 + len(ZOO))
        rows = {line.split()[0]: line for line in lines}
        assert lines[0].split() == ["name", "trained", "on", "frames", "views", "top-1", "MB", "here"]
        assert rows["uniformer_base_k400_16x4"].split() == [
            *("uniformer_base_k400_16x4", "Kinetics-400", "16x4", "4x1", "82.0", "199.5", "not", "here"),
        ]
        assert rows["uniformer_xs_192_in1k"].split()[1:] == [
            "ImageNet-1K",
            "image",
            "1",
            "-",
            "-",
            "no",
            "known",
            "address",
        ]
        assert rows[NOWHERE].endswith(f"  {tmp_path / 'mine' / NOWHERE}.pyth")
        assert rows["uniformer_base_sthv2_32_prek600"].split()[1:-2] == [
            *("Something-Something", "V2", "32", "1x3", "71.2", "199.1")
        ]

    def test_columns_are_aligned(self, run):
        lines = run("list")[1].splitlines()
        for title in ("trained on", "frames", "views", "here"):
            column = lines[0].index(title)
            assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines)
        end = lines[0].index("MB") + 2
        assert all(line[end : end + 2] == "  " and line[end - 1] != " " for line in lines)

    def test_json(self, run, server):
        code, out, _ = run("list", "--json")
        rows = {row["name"]: row for row in json.loads(out)}
        assert (code, rows.keys()) == (0, ZOO.keys())
        assert rows[NAME]["sha256"] == SHA
        assert rows[NAME]["url"] == f"{server.url}/{NAME}.pth"
        assert (rows[NAME]["path"], rows[NAME]["label_set"], rows[NAME]["network"]) == (None, None, "image_small")
        row = rows["uniformer_base_k400_32x4"]
        expected = {"frames": 32, "stride": 4, "sampling": "dense", "clips": 4, "crops": 1, "top1": 82.9}
        assert {key: row[key] for key in expected} == expected
        assert (row["frames_text"], row["views_text"], row["label_set"]) == ("32x4", "4x1", "kinetics400")


class TestDownload:
    def test_once(self, run, cache, server):
        url, path = f"{server.url}/{NAME}.pth", cache / f"{NAME}.pth"
        code, out, err = run("download", NAME)
        lines = [line.partition("] ")[2] or line for line in out.splitlines()]
        assert (code, err) == (0, "")
        assert lines == [
            f"downloading {NAME} from {url}",
            f"downloaded {NAME}: 50.0 kB, sha256 as published, in {path}",
            f"{NAME}: {path}",
        ]
        assert run("download", NAME) == (0, f"{NAME}: {path}\n", "")
        assert len(server.asked) == 1

    def test_those_that_can_be_had_come_where_another_fails(self, run, cache):
        code, out, err = run("download", NOWHERE, NAME)
        assert code == 2
        assert out.endswith(f"{NAME}: {cache / NAME}.pth\n")
        assert err.startswith("error: ") and err.count("\n") == 1

    def test_a_row_without_hash_has_its_own_printed(self, run, server, tmp_path, monkeypatch):
        network = Network("Uniformer", {**TINY, "num_classes": 1000, "image": True})
        monkeypatch.setitem(NETWORKS, "tiny_tool", network)
        monkeypatch.setitem(ZOO, UNCHECKED, replace(ZOO[UNCHECKED], network="tiny_tool"))
        data = Path(saved(network.build().state_dict(), tmp_path / "a")).read_bytes()
        server.serve(f"/{UNCHECKED}.pth", Answer(data))
        _, out, _ = run("download", UNCHECKED)
        assert f"no published sha256 to check against, its own is {hashlib.sha256(data).hexdigest()}" in out

    def test_an_address(self, run, cache, server, tmp_path):
        data = Path(saved(tiny().state_dict(), tmp_path / "a")).read_bytes()
        url = server.serve("/mine.pth", Answer(data))
        code, out, _ = run("download", url)
        path = Path(out.splitlines()[-1].rpartition(": ")[2])
        assert (code, path.read_bytes()) == (0, data)
        _, out, _ = run("download", url)
        assert f"{url}: from the cache, fetched 20" in out
        assert f"; remove {path} to fetch it again\n" in out

    def test_forced(self, run, cache, server):
        for arguments in ((), ("--force",), ()):
            assert run("download", NAME, *arguments)[0] == 0
        assert len(server.asked) == 2


class TestFailures:
    """Every way in which weights cannot be had: exit code 2 and one line that says what, what is left, what to do."""

    def line(self, run, *arguments) -> str:
        code, _, err = run("download", NAME, "--tries", "1", *arguments)
        assert (code, err.count("\n")) == (2, 1)
        return err

    def advice(self, cache, name=NAME) -> str:
        return f"put the file at {cache / name}.pth or set UNIFORMER_WEIGHTS to the folder that holds it\n"

    def test_truncated(self, run, cache, server):
        url = server.serve(f"/{NAME}.pth", Answer(CONTENT, cut_after=20_000))
        assert self.line(run) == (
            f"error: {url} cannot be downloaded: the connection ended after 20000 of 50000 bytes; 20.0 kB are kept in "
            f"'{cache / NAME}.pth.part', and the next try goes on from there; {self.advice(cache)}"
        )
        server.serve(f"/{NAME}.pth", Answer(CONTENT))
        assert run("download", NAME)[0] == 0
        assert server.ranges() == ["", "bytes=20000-"]

    def test_stalled(self, run, cache, server):
        url = server.serve(f"/{NAME}.pth", Answer(CONTENT, stall_after=20_000))
        assert self.line(run, "--stall", "0.3") == (
            f"error: {url} cannot be downloaded: the server sent no byte for 0.3 s; 20.0 kB are kept in "
            f"'{cache / NAME}.pth.part', and the next try goes on from there; {self.advice(cache)}"
        )

    def test_not_found(self, run, cache, server):
        url = server.serve(f"/{NAME}.pth", Answer(status=404))
        assert self.line(run) == (
            f"error: {url} cannot be downloaded: the server answers 404 Not Found; nothing was kept; "
            f"{self.advice(cache)}"
        )

    def test_wrong_hash(self, run, cache, server):
        url = server.serve(f"/{NAME}.pth", Answer(OTHER))
        assert self.line(run) == (
            f"error: what came from {url} is corrupt or another file and was removed: its sha256 is {SHA_OTHER}, that "
            f"of the published file {SHA}; {self.advice(cache)}"
        )
        assert list(cache.iterdir()) == []

    def test_offline(self, run, cache, monkeypatch):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        monkeypatch.setenv("UNIFORMER_ZOO_MIRROR", url)
        assert self.line(run) == (
            f"error: {url}/{NAME}.pth cannot be downloaded: 127.0.0.1 cannot be reached (Connection refused); nothing "
            f"was kept; {self.advice(cache)}"
        )

    def test_a_web_page(self, run, cache, server):
        url = server.serve(f"/{NAME}.pth", Answer(b"<!DOCTYPE html>", content_type="text/html"))
        assert self.line(run) == (
            f"error: {url} cannot be downloaded: the server answers with a web page, not with the file; nothing was "
            f"kept; {self.advice(cache)}"
        )

    @pytest.mark.parametrize(
        "data", [b'{"error": "no such revision here"}', b"version https://git-lfs.github.com/spec"]
    )
    def test_no_weights_under_a_name_without_hash(self, run, cache, server, data):
        url = server.serve(f"/{UNCHECKED}.pth", Answer(data))
        code, _, err = run("download", UNCHECKED)
        assert (code, err) == (
            2,
            f"error: what came from {url} is corrupt or another file and was removed: it is text, not a PyTorch file "
            f"(it begins {data.decode()[:40]!r}); {self.advice(cache, UNCHECKED)}",
        )
        assert list(cache.iterdir()) == []

    @pytest.mark.parametrize("command", [["inspect"], ["download"], ["export"]])
    def test_no_address(self, run, command):
        more = ["out.pth"] if command == ["export"] else []
        code, _, err = run(*command, "http://[::1", *more)
        assert (code, err) == (
            2,
            "error: 'http://[::1' is no web address (Invalid IPv6 URL); it looks like https://host/folder/file\n",
        )

    def test_no_known_address(self, run, cache, monkeypatch):
        monkeypatch.delenv("UNIFORMER_ZOO_MIRROR")
        code, _, err = run("download", NOWHERE)
        advice = self.advice(cache, NOWHERE)
        assert (code, err) == (2, f"error: the published weights {NOWHERE} have no known address on the web; {advice}")

    def test_an_unknown_name(self, run):
        code, _, err = run("download", "uniformer_smal_in1k")
        assert code == 2
        assert err.startswith(
            "error: there is no weight file 'uniformer_smal_in1k', and no published weights have that name; "
        )
        assert "nearest: uniformer_small_in1k, " in err


class TestVerify:
    def test_all_that_are_here(self, run, cache):
        assert run("verify")[:2] == (0, "no published weights lie on this machine; `download` fetches them\n")
        run("download", NAME)
        assert run("verify") == (0, f"good  {cache / NAME}.pth: it is the published {NAME}\n", "")

    def test_one_bad_of_several(self, run, cache, tmp_path):
        run("download", NAME)
        (tmp_path / "a.pth").write_bytes(b"x")
        code, out, err = run("verify", NAME, tmp_path / "a.pth")
        good, bad = out.splitlines()
        assert (code, err) == (1, "")
        assert good == f"good  {cache / NAME}.pth: it is the published {NAME}"
        assert bad.startswith(f"BAD   {tmp_path}/a.pth: it is none of the published files with a known sha256")

    def test_a_mistake_outweighs_a_bad_file(self, run, tmp_path):
        (tmp_path / "a.pth").write_bytes(b"x")
        code, out, err = run("verify", NAME, tmp_path / "a.pth")
        assert (code, out.count("\n")) == (2, 1)
        assert err == f"error: {NAME} does not lie on this machine; python tools/zoo.py download {NAME}\n"

    def test_a_folder_of_ones_own(self, run, tmp_path):
        (tmp_path / f"{NAME}.pth").write_bytes(OTHER)
        code, out, _ = run("verify", "--folder", tmp_path)
        assert code == 1
        assert out == (
            f"BAD   {tmp_path / NAME}.pth: it is not the published {NAME}: its sha256 is {SHA_OTHER}, that of the "
            f"published file {SHA}\n"
        )


class TestInspect:
    @pytest.fixture
    def cfg(self, tmp_path) -> Path:
        (tmp_path / "toy.yaml").write_text(TOY)
        return tmp_path / "toy.yaml"

    def test_a_file(self, run, tmp_path):
        path = saved({"model": tiny().state_dict(), "epoch": 4}, tmp_path / "a.pth")
        code, out, err = run("inspect", path)
        size = Path(path).stat().st_size
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert lines[0] == f"file        {path} ({size / 1e3:.1f} kB)"
        assert lines[1] == "network     Uniformer for video, of no published size"
        assert lines[2] == "classes     5"
        assert lines[-3:] == ["wrapped in  model", "epoch       4", "holds also  epoch (int)"]

    def test_json(self, run, tmp_path):
        path = saved(tiny().state_dict(), tmp_path / "a.pth")
        code, out, _ = run("inspect", path, "--json")
        found = json.loads(out)
        assert (code, found["path"], found["classes"]) == (0, path, 5)
        assert found["settings"]["UNIFORMER.EMBED_DIM"] == [8, 16, 24, 32]
        assert "load" not in found

    def test_what_a_network_would_get(self, run, tmp_path, cfg):
        path = saved(tiny(num_classes=7).state_dict(), tmp_path / "a.pth")
        for arguments in (["inspect", path, "--cfg", cfg], ["inspect", "--cfg", cfg, path]):
            code, out, _ = run(*arguments)
            assert code == 0
            total = len(tiny().state_dict())
            assert out.splitlines()[-7:] == [
                f"into        {cfg}, as UNIFORMER.PRETRAIN_NAME",
                f"            loaded: {total - 2} ({', '.join(list(tiny().state_dict())[:3])}, ...)",
                "            inflated: 0",
                "            adapted: 0",
                "            started: 0",
                "            left out head: 2 (head.weight, head.bias); the head starts anew",
                "            new head: 0",
            ]

    def test_2d_weights_as_in_the_place_they_would_take(self, run, tmp_path, cfg):
        path = saved(flattened(tiny(num_classes=7).state_dict()), tmp_path / "a.pth")
        code, out, _ = run("inspect", path, "--cfg", cfg)
        assert code == 0
        assert "; by average\n" in out
        _, out, _ = run("inspect", path, "--cfg", cfg, "TRAIN.CHECKPOINT_INFLATE", "center")
        assert "; by center\n" in out
        code, out, _ = run("inspect", path, "--cfg", cfg, "TRAIN.CHECKPOINT_FILE_PATH", "another.pth")
        assert (code, "would not load: " in out, "TRAIN.CHECKPOINT_INFLATE" in out) == (1, True, True)
        assert f"into        {cfg}, as TRAIN.CHECKPOINT_FILE_PATH\n" in out

    def test_heads_of_another_width(self, run, tmp_path, cfg):
        """Neither the names nor the shapes of the tensors tell."""
        path = saved({"model_state": tiny().state_dict(), "cfg": "UNIFORMER: {HEAD_DIM: 4}"}, tmp_path / "a.pth")
        code, out, _ = run("inspect", path, "--cfg", cfg)
        assert code == 1
        assert "UNIFORMER.HEAD_DIM 4\n" in out
        assert (
            "would not load: " in out and "was trained with other attention heads (UNIFORMER.HEAD_DIM: 4 -> 8)" in out
        )
        (tmp_path / f"{NOWHERE}.pth").write_bytes(Path(saved(tiny().state_dict(), tmp_path / "b.pth")).read_bytes())
        code, out, _ = run("inspect", NOWHERE, "--folder", tmp_path, "--cfg", cfg)
        assert (code, "attention heads of 64 channels, but UNIFORMER.HEAD_DIM is 8" in out) == (1, True)

    def test_another_class_order_is_said_where_the_data_are_known(self, run, tmp_path, cfg):
        content = {"model_state": tiny().state_dict(), "class_names": list("abcde")}
        path = saved(content, tmp_path / "a.pth")
        assert "class order" not in run("inspect", path, "--cfg", cfg)[1]
        (tmp_path / "classes.txt").write_text("\n".join("edcba"))
        _, out, _ = run("inspect", path, "--cfg", cfg, "DATA.PATH_TO_DATA_DIR", tmp_path)
        assert "head remapped by name (5 classes)" in out
        (tmp_path / "classes.txt").write_text("\n".join("edcb"))
        code, out, _ = run("inspect", path, "--cfg", cfg, "DATA.PATH_TO_DATA_DIR", tmp_path)
        assert (code, "would not load: " in out, "names 4 classes" in out) == (1, True, True)

    def test_settings_behind_the_configuration(self, run, tmp_path, cfg):
        path = saved(tiny(num_classes=7).state_dict(), tmp_path / "a.pth")
        _, out, _ = run("inspect", path, "--cfg", cfg, "MODEL.NUM_CLASSES", "7", "--json")
        load = json.loads(out)["load"]
        assert (load["left_out_head"], load["cfg"]) == ([], str(cfg))
        assert load["loaded"] == list(tiny().state_dict())

    def test_what_would_not_load(self, run, tmp_path, cfg):
        path = saved(tiny(local_kernel=(5, 5, 5)).state_dict(), tmp_path / "a.pth")
        code, out, err = run("inspect", path, "--cfg", cfg)
        last = out.splitlines()[-1]
        assert (code, err) == (1, "")
        assert last.startswith(f"            would not load: weight file '{path}' does not fit this network: ")
        assert "5x5x5" in last and "3x5x5" in last and "UNIFORMER.LOCAL_KERNEL [5, 5, 5]" in last
        code, out, _ = run("inspect", path, "--cfg", cfg, "--json")
        assert code == 1
        assert json.loads(out)["load"]["error"] == last.strip().removeprefix("would not load: ")

    def test_json_is_all_there_is_on_standard_output(self, run, server, tmp_path):
        path = Path(saved(tiny().state_dict(), tmp_path / "a.pth"))
        code, out, _ = run("inspect", server.serve("/b.pth", Answer(path.read_bytes())), "--json")
        assert (code, json.loads(out)["classes"]) == (0, 5)

    @pytest.mark.parametrize("text", ["<!DOCTYPE html>", ""])
    def test_no_weights(self, run, tmp_path, text):
        (tmp_path / "a.pth").write_text(text)
        code, out, err = run("inspect", tmp_path / "a.pth")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"error: weight file '{tmp_path}/a.pth' is ")


class TestExport:
    @pytest.mark.parametrize("suffix", [".pyth", ".safetensors"])
    def test_a_checkpoint(self, run, tmp_path, suffix):
        state = tiny().state_dict()
        content = {"model_state": state, "optimizer_state": {}, "epoch": 1, "cfg": "", "class_names": list("abcde")}
        out_path = tmp_path / f"out{suffix}"
        code, out, _ = run("export", saved(content, tmp_path / "a.pyth"), out_path, "--half")
        assert (code, out) == (0, f"{out_path}: {out_path.stat().st_size / 1e3:.1f} kB\n")
        read = read_weights(out_path)
        assert torch.equal(read["head.weight"], state["head.weight"].half())
        assert "named: a, b, c, ..." in run("inspect", out_path)[1]

    @pytest.mark.parametrize("suffix", [".pyth", ".safetensors"])
    def test_published_weights_take_their_label_set_along(self, run, tmp_path, suffix):
        folder = tmp_path / "mine"
        folder.mkdir()
        saved(tiny(num_classes=400).state_dict(), folder / f"{NOWHERE}.pth")
        out_path = tmp_path / f"out{suffix}"
        assert run("export", NOWHERE, out_path, "--folder", folder)[0] == 0
        assert class_names_in(read_content(out_path)) == tuple(label_set("kinetics400"))

    def test_names_for_a_file_that_holds_none(self, run, tmp_path):
        source, out_path = saved(tiny(num_classes=51).state_dict(), tmp_path / "a.pth"), tmp_path / "b.pyth"
        assert run("export", source, out_path)[0] == 0
        assert class_names_in(read_content(out_path)) is None
        assert run("export", source, out_path, "--label-set", "hmdb51")[0] == 0
        assert class_names_in(read_content(out_path)) == tuple(label_set("hmdb51"))
        for wrong, words in (
            (("--label-set", "ucf101"), "101 class names for a head of 51 classes; they do not belong together"),
            (("--label-set", "hmdb"), "hmdb51"),
        ):
            code, _, err = run("export", source, tmp_path / "c.pyth", *wrong)
            assert (code, err.count("\n")) == (2, 1) and words in err
        content = {"model_state": tiny(num_classes=51).state_dict(), "class_names": list(label_set("hmdb51"))[::-1]}
        code, _, err = run("export", saved(content, tmp_path / "d.pyth"), tmp_path / "c.pyth", "--label-set", "hmdb51")
        assert (code, err) == (
            2,
            f"error: weight file '{tmp_path}/d.pyth' has class names of its own, which are other ones; leave "
            "--label-set out\n",
        )

    def test_a_mistake(self, run, tmp_path):
        code, _, err = run("export", saved(tiny().state_dict(), tmp_path / "a.pyth"), tmp_path / "a.onnx")
        assert code == 2
        assert err == f"error: '{tmp_path}/a.onnx' has no ending that says a format: .pyth, .pth, .safetensors\n"


class TestCommandLine:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["fly"],
            ["download"],
            ["download", NAME, "--tries", "0"],
            *(["download", NAME, "--stall", seconds] for seconds in ("0", "-1", "inf", "nan", "1e10", "86401")),
            ["list", "more"],
            ["inspect", "a.pth", "MODEL.NUM_CLASSES", "3"],
            ["inspect", "a.pth", "--cfg", "b.yaml", "--what"],
            ["export", "a.pth"],
        ],
    )
    def test_a_mistake_is_one_line(self, arguments, capsys):
        with pytest.raises(SystemExit) as ended:
            zoo.main(arguments)
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1

    def test_a_day_is_the_longest_stall(self):
        assert zoo.parse_args(["download", NAME, "--stall", "86400"]).stall == 86400

    def test_a_reader_that_goes_is_no_error(self):
        command = [sys.executable, str(ROOT / "tools" / "zoo.py"), "list"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.stdout.close()
        assert (process.communicate(timeout=60)[1], process.returncode) == ("", 141)

    def test_help_names_commands_and_environment(self, capsys):
        with pytest.raises(SystemExit) as ended:
            zoo.main(["--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        for word in (*zoo.COMMANDS, "UNIFORMER_WEIGHTS", "UNIFORMER_CACHE", "UNIFORMER_ZOO_MIRROR", "Exit codes"):
            assert word in text

    def test_it_runs_from_a_clone(self, tmp_path):
        command = [sys.executable, str(ROOT / "tools" / "zoo.py"), "--help"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (ended.returncode, ended.stderr) == (0, "")
