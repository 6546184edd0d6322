"""A file that would run code when it is read does not: in every place that reads one, with one line for the user.

The trap makes a file when it is unpickled. The first test springs it on purpose, so that the others can fail.
"""

from __future__ import annotations

import ast
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toy import logger_restored, toy_set  # noqa: F401 - fixtures
from tools import contact_sheet, predict, run_net, zoo
from uniformer_video.config import load_config
from uniformer_video.datasets.class_names import read_class_names
from uniformer_video.datasets.shapes import MARKER, _is_complete
from uniformer_video.models.hidden import configuration_tree
from uniformer_video.models.weights import read_content
from uniformer_video.models.zoo import _memory
from uniformer_video.prepare.probe_all import CACHE_FILE, ProbeCache
from uniformer_video.prepare.write import CLAIM_FILE, claim_folder
from uniformer_video.runtime.digest import SCHEME
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.part import read_note
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import DecodeError

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.usefixtures("logger_restored", "cache")


class Trap:
    """Makes the file ``proof`` when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = str(proof)

    def __reduce__(self) -> tuple:
        return os.open, (self.proof, os.O_CREAT | os.O_WRONLY)


def checkpoint(trap: Trap) -> dict:
    """Return a checkpoint that looks like ours, with a trap where nobody looks."""
    return {
        "epoch": 1,
        "model_state": {"head.weight": torch.zeros(3, 4)},
        "optimizer_state": {"state": {}, "param_groups": []},
        "cfg": "MODEL:\n  NUM_CLASSES: 3\n",
        "history": [{"epoch": 1, "note": trap}],
        "digest": SCHEME + "0" * 64,
    }


def write_zip(path: Path, trap: Trap) -> None:
    torch.save(checkpoint(trap), path)


def write_legacy(path: Path, trap: Trap) -> None:
    torch.save(checkpoint(trap), path, _use_new_zipfile_serialization=False)


def write_pickle(path: Path, trap: Trap) -> None:
    path.write_bytes(pickle.dumps(checkpoint(trap)["history"], protocol=2))


def write_text_pickle(path: Path, trap: Trap) -> None:
    path.write_bytes(pickle.dumps(trap, protocol=0))


def write_array(path: Path, trap: Trap) -> None:
    with open(path, "wb") as file:
        np.save(file, np.array([trap, None], object), allow_pickle=True)


def write_arrays(path: Path, trap: Trap) -> None:
    with open(path, "wb") as file:
        np.savez(file, weights=np.array([trap, None], object))


FORMS = {
    "a file of torch.save": write_zip,
    "an old file of torch.save": write_legacy,
    "a bare pickle": write_pickle,
    "a pickle in letters": write_text_pickle,
    "an array of numpy": write_array,
    "arrays of numpy": write_arrays,
}
forms = pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return an empty cache folder."""
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UNIFORMER_WEIGHTS", raising=False)
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def proof(tmp_path):
    """Return where the trap would make its file, and see at the end that it did not."""
    path = tmp_path / "proof"
    yield path
    assert not path.exists(), "the trap has sprung"


@forms
def test_the_trap_works_where_files_are_read_carelessly(tmp_path, write):
    path, proof = tmp_path / "trap", tmp_path / "proof"
    write(path, Trap(proof))
    assert not proof.exists()
    if write in (write_array, write_arrays):
        content = np.load(path, allow_pickle=True)
        _ = content["weights"] if write is write_arrays else content
    elif write in (write_zip, write_legacy):
        torch.load(path, weights_only=False)
    else:
        pickle.loads(path.read_bytes())
    assert proof.exists()


# ------------------------------------------------------------------------------------- weight files and checkpoints


def train_words(toy: Path, out: Path, *words: object) -> list[str]:
    paths = ["DATA.PATH_TO_DATA_DIR", toy, "OUTPUT_DIR", out]
    return [str(word) for word in ("--cfg", toy / "toy.yaml", *paths, *words)]


def own(out: Path) -> Path:
    """Return where a run's own checkpoint lies; the folder is made."""
    (out / "checkpoints").mkdir(parents=True)
    return out / "checkpoints" / "checkpoint_epoch_00001.pyth"


def resume(path: Path, toy: Path, out: Path) -> int:
    path.rename(own(out))
    return run_net.main(train_words(toy, out))


def test_own(path: Path, toy: Path, out: Path) -> int:
    path.rename(own(out))
    return run_net.main(train_words(toy, out, "TRAIN.ENABLE", False))


test_own.__test__ = False


def start(path: Path, toy: Path, out: Path) -> int:
    return run_net.main(train_words(toy, out, "TRAIN.CHECKPOINT_FILE_PATH", path))


def go_on(path: Path, toy: Path, out: Path) -> int:
    words = ("TRAIN.CHECKPOINT_FILE_PATH", path, "TRAIN.CHECKPOINT_EPOCH_RESET", False)
    return run_net.main(train_words(toy, out, *words))


def test_given(path: Path, toy: Path, out: Path) -> int:
    return run_net.main(train_words(toy, out, "TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", path))


test_given.__test__ = False


def predict_with(path: Path, toy: Path, out: Path) -> int:
    return predict.main([str(path), str(next((toy / "videos").glob("test*.mp4")))])


def predict_with_a_run(path: Path, toy: Path, out: Path) -> int:
    path.rename(own(out))
    return predict.main([str(out), str(next((toy / "videos").glob("test*.mp4")))])


def inspect(path: Path, toy: Path, out: Path) -> int:
    return zoo.main(["inspect", str(path)])


def export(path: Path, toy: Path, out: Path) -> int:
    return zoo.main(["export", str(path), str(out) + ".pth"])


ENTRANCES = (resume, test_own, start, go_on, test_given, predict_with, predict_with_a_run, inspect, export)


@forms
@pytest.mark.parametrize("enter", ENTRANCES, ids=lambda enter: enter.__name__)
def test_no_entrance_lets_a_weight_file_run_code(tmp_path, toy_set, capsys, proof, enter, write):  # noqa: F811
    path = tmp_path / "trap.pyth"
    write(path, Trap(proof))
    assert enter(path, toy_set, tmp_path / "out") == 2
    err = capsys.readouterr().err.splitlines()
    assert [line for line in err if line.startswith("error: ")] == err[-1:]
    assert "Traceback" not in "".join(err)


def test_a_checkpoint_of_traps_is_passed_over_for_the_one_before(tmp_path, toy_set, capsys, proof):  # noqa: F811
    words = train_words(toy_set, tmp_path / "out", "SOLVER.MAX_EPOCH", 1, "TEST.ENABLE", False)
    assert run_net.main(words) == 0
    newest = tmp_path / "out" / "checkpoints" / "checkpoint_epoch_00002.pyth"
    write_zip(newest, Trap(proof))
    capsys.readouterr()
    assert run_net.main(words) == 0
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if "refused" in line)
    assert line.endswith("; going on from checkpoint_epoch_00001.pyth") and "posix.open" in line
    assert newest.exists()


@forms
def test_what_lies_in_the_cache_is_not_trusted_more(cache, proof, write):
    path = cache / "uniformer_small_in1k.pth"
    write(path, Trap(proof))
    with pytest.raises(UserError) as error:
        read_content(path)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------------------------- results, configurations, indices


@forms
def test_results(tmp_path, toy_set, capsys, proof, write):  # noqa: F811
    run = tmp_path / "out"
    (run / "test").mkdir(parents=True)
    (run / "config.yaml").write_text((toy_set / "toy.yaml").read_text())
    write(run / "test" / "predictions.npz", Trap(proof))
    assert contact_sheet.main([str(run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "predictions.npz is damaged, or not what a test writes" in line
    assert "allow_pickle" not in line, "nobody is told to read it unsafely"


YAML_TRAPS = (
    "!!python/object/apply:os.open ['{proof}', 65]",
    "!!python/object/new:os.open ['{proof}', 65]",
    "!!python/object/apply:os.system ['touch {proof}']",
    "!!python/name:os.system ''",
    "!!python/module:os ''",
)


@pytest.mark.parametrize("text", YAML_TRAPS)
@pytest.mark.parametrize("form", ["OUTPUT_DIR: {}", "{}", "TRAIN:\n  BATCH_SIZE: {}", "_BASE_: {}"])
def test_a_configuration_file(tmp_path, proof, form, text):
    (tmp_path / "a.yaml").write_text(form.format(text.format(proof=proof)) + "\n")
    with pytest.raises(UserError) as error:
        load_config(tmp_path / "a.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", YAML_TRAPS)
def test_a_setting_on_the_command_line(proof, text):
    with pytest.raises(UserError):
        load_config(None, ["TRAIN.BATCH_SIZE", text.format(proof=proof)])
    # A text stays one.
    assert text.format(proof=proof) == load_config(None, ["OUTPUT_DIR", text.format(proof=proof)]).OUTPUT_DIR


@pytest.mark.parametrize("text", YAML_TRAPS)
def test_the_configuration_in_a_checkpoint(proof, text):
    assert configuration_tree("MODEL:\n  NUM_CLASSES: " + text.format(proof=proof)) == {}


@forms
@pytest.mark.parametrize("split", ["train.csv", "classes.json"])
def test_lists_and_names(tmp_path, proof, toy_set, capsys, write, split):  # noqa: F811
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train.csv", "val.csv", "test.csv", "classes.json", "toy.yaml"):
        (data / name).write_bytes((toy_set / name).read_bytes())
    write(data / split, Trap(proof))
    assert run_net.main(train_words(data, tmp_path / "out", "DATA.PATH_PREFIX", toy_set)) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1 and err[0].startswith("error: ") and split in err[0]


@forms
def test_what_the_toolkit_remembers_itself(tmp_path, cache, proof, write):
    """Notes beside data: one that is something else is none."""
    for path in (tmp_path / CACHE_FILE, tmp_path / "out" / CLAIM_FILE, cache / "checked.json", tmp_path / "a.json"):
        path.parent.mkdir(exist_ok=True)
        write(path, Trap(proof))
    with ProbeCache(tmp_path / CACHE_FILE) as probes:
        assert probes._known == {}
    assert _memory() == {}
    assert read_note(tmp_path / "a.json") is None
    claim_folder(tmp_path / "out", str(tmp_path / "source"))
    assert json.loads((tmp_path / "out" / CLAIM_FILE).read_text())["files"] == {}


@forms
def test_the_marker_of_the_demonstration_set(tmp_path, proof, write):
    write(tmp_path / MARKER, Trap(proof))
    assert not _is_complete(tmp_path, {}, {})


@forms
def test_a_video_and_a_file_of_names(tmp_path, proof, write):
    write(tmp_path / "a.mp4", Trap(proof))
    with pytest.raises(DecodeError):
        open_video(str(tmp_path / "a.mp4"))
    write(tmp_path / "classes.json", Trap(proof))
    with pytest.raises(UserError):
        read_class_names(tmp_path, 3)


# -------------------------------------------------------------------------------------------------- the code itself

FORBIDDEN = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.jit.load", "yaml.load", "yaml.unsafe_load"),
    *("yaml.full_load", "marshal.loads", "marshal.load", "shelve.open", "joblib.load", "eval", "exec", "os.system"),
}
SOURCES = sorted([*(ROOT / "uniformer_video").rglob("*.py"), *(ROOT / "tools").glob("*.py")])


def careless(tree: ast.AST) -> list[str]:
    """Return the calls in a source that could run what a file holds."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name == "torch.load" and options.get("weights_only") != "True":
            found.append(f"{name} in line {node.lineno} without weights_only=True")
        elif name in FORBIDDEN or (name == "np.load" and options.get("allow_pickle", "False") != "False"):
            found.append(f"{name} in line {node.lineno}")
    return found


def test_no_source_reads_files_carelessly():
    found = {str(path.relative_to(ROOT)): careless(ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert len(found) > 200
    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "text",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "np.load(path, allow_pickle=True)",
        "pickle.load(file)",
        "yaml.load(text, Loader=yaml.Loader)",
        "eval(text)",
    ],
)
def test_careless_reading_would_be_found(text):
    assert len(careless(ast.parse(text))) == 1
    assert careless(ast.parse("torch.load(f, weights_only=True); np.load(f); model.eval(); yaml.safe_load(t)")) == []
