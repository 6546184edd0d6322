"""The comparisons of chaos.py: they fail on one changed bit, a damaged file, a file under a wrong name."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from tests.tools.chaos_path import checkpoint, save
from uniformer_video.engine.checkpoint import checkpoint_path, save_checkpoint
from uniformer_video.models.weight_files import DIGEST
from uniformer_video.runtime.errors import UserError

# isort: split
import chaos_compare as compare

STEPS = 11


@pytest.fixture
def runs(tmp_path):
    """Two runs that ended alike."""
    outputs = []
    for name in ("a", "b"):
        output = tmp_path / name
        save(output, 1, 4, value=0.5)
        save(output, 2)
        save(output, 2, best=True)
        write_scores(output, np.arange(6, dtype=np.float32).reshape(3, 2))
        outputs.append(output)
    return outputs


def write_scores(output, scores):
    (output / "test").mkdir(exist_ok=True)
    paths = np.asarray(["x", "y", "z"][: len(scores)])
    np.savez(output / "test" / "predictions.npz", scores=scores, paths=paths)


def rewrite(output, change):
    """Change the last checkpoint of a run, with a hash that is right."""
    altered = copy.deepcopy(checkpoint(2))
    change(altered)
    save_checkpoint(altered, checkpoint_path(output, 2))


def test_equal_runs_have_no_differences(runs):
    assert compare.compare_runs(*runs) == []


def flip_bit(state):
    state["w"].view(torch.int32)[1] ^= 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: flip_bit(c.model_state), "model_state.w"),
        (lambda c: flip_bit(c.train_state), "train_state.w"),
        (lambda c: flip_bit({"w": c.optimizer_state["state"][0]["exp_avg"]}), "optimizer_state.state.0.exp_avg"),
        (lambda c: c.history[0].update(train_loss=math.nextafter(0.5, 1)), "history.0.train_loss"),
        (lambda c: c.best.update(epoch=2), "best.epoch"),
        (lambda c: setattr(c, "nonfinite", {"total": 1}), "nonfinite"),
        (lambda c: setattr(c, "average", {"updates": 3}), "average"),
        (lambda c: c.generators[0].update(torch=torch.zeros(4, dtype=torch.uint8)), "generators.0"),
    ],
)
def test_one_changed_bit_of_any_state_is_told(runs, change, named):
    rewrite(runs[1], change)
    (text,) = compare.compare_runs(*runs)
    assert text.startswith(f"checkpoint_epoch_00002.pyth: {named}"), text


def test_what_says_nothing_about_the_training_is_passed_over(runs):
    rewrite(runs[1], lambda c: (setattr(c, "cfg", "other"), c.generators[0].update(python=[3, [9], None])))
    assert compare.compare_runs(*runs) == []


def test_other_scores_are_told(runs):
    changed = np.arange(6, dtype=np.float32).reshape(3, 2)
    changed[1, 1] = np.nextafter(changed[1, 1], np.float32(9))
    write_scores(runs[1], changed)
    assert compare.compare_runs(*runs) == ["predictions.npz: other scores"]
    (runs[1] / "test" / "predictions.npz").unlink()
    assert compare.compare_runs(*runs) == [f"{runs[1]} has no scores"]


def test_a_best_checkpoint_that_only_one_has_and_another_last_one_are_told(runs, tmp_path):
    (runs[1] / "checkpoints" / "checkpoint_best.pyth").unlink()
    assert compare.compare_runs(*runs) == ["only one of the runs has checkpoint_best.pyth"]
    checkpoint_path(runs[1], 2).unlink()
    assert compare.compare_runs(*runs)[0] == "only one of the runs has checkpoint_epoch_00002.pyth"
    assert compare.compare_runs(tmp_path / "none", runs[0]) == [f"{tmp_path / 'none'} has no checkpoint"]


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        (0.0, -0.0, 1),
        (math.nan, math.nan, 0),
        (1, 1.0, 1),
        (1, True, 1),
        (torch.tensor([0.0]), torch.tensor([-0.0]), 1),
        (torch.tensor([math.nan]), torch.tensor([math.nan]), 0),
        (torch.zeros(2, 3), torch.zeros(3, 2), 1),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64), 1),
        (torch.zeros(3, 2).t(), torch.zeros(2, 3), 0),
        (torch.zeros(2, dtype=torch.int64), torch.tensor([0, 1]), 1),
        (torch.zeros(()), torch.zeros(()), 0),
        (torch.zeros(0), torch.zeros(0), 0),
        ({"a": 1}, {"b": 1}, 1),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, 1),
        ([1, 2], [1], 1),
        ([1, 2], (1, 2), 1),
        ([1, 2, 3], [1, 5, 6], 2),
        (None, None, 0),
        (list(range(100)), list(range(1, 101)), compare.SHOWN + 1),
    ],
)
def test_differences(one, other, count):
    assert len(compare.differences(one, other, "x")) == count
    assert len(compare.differences({"a": [one]}, {"a": [other]})) == count


def test_a_folder_of_sound_checkpoints(tmp_path):
    save(tmp_path, 1, 10)
    newest = save(tmp_path, 2, 4)
    save(tmp_path, 2, best=True)
    found = compare.inspect(tmp_path, STEPS)
    assert (found.checked, found.position, found.newest, found.problems) == (3, 26, newest, [])
    assert compare.positions_in(tmp_path, STEPS) == [21, 26]
    assert compare.inspect(tmp_path / "nothing", STEPS) == compare.Folder()


def test_a_damaged_newest_checkpoint_is_a_problem_and_not_the_position(tmp_path):
    save(tmp_path, 1)
    newest = save(tmp_path, 1, 2)
    newest.write_bytes(newest.read_bytes()[:-7])
    found = compare.inspect(tmp_path, STEPS)
    assert (found.checked, found.position) == (1, 11)
    assert len(found.problems) == 1 and newest.name in found.problems[0]


def test_a_file_without_a_hash_or_with_another_one_is_a_problem(tmp_path):
    path = save(tmp_path, 1)
    content = torch.load(path, weights_only=True)
    torch.save({name: value for name, value in content.items() if name != DIGEST}, path)
    assert compare.inspect(tmp_path, STEPS).problems == [f"{path} has no hash inside"]
    content["model_state"]["w"][0] = 9
    torch.save(content, path)
    with pytest.raises(UserError, match=r"checkpoint_epoch_00001\.pyth"):
        compare.read_hashed(path)


def test_a_hash_that_the_toolkit_does_not_look_at_is_looked_at_here(tmp_path, monkeypatch):
    path = save(tmp_path, 1)
    content = torch.load(path, weights_only=True)
    content["model_state"]["w"][0] = 9
    torch.save(content, path)
    monkeypatch.setattr(compare, "read_checkpoint", lambda path: checkpoint(1))
    assert "its hash is of something else" in compare.inspect(tmp_path, STEPS).problems[0]


def test_a_state_under_the_name_of_another_position_is_a_problem(tmp_path):
    save(tmp_path, 1, 2).rename(checkpoint_path(tmp_path, 1, 4))
    assert "holds the state after 13 steps, not 15" in compare.inspect(tmp_path, STEPS).problems[0]
    checkpoint_path(tmp_path, 1, 4).rename(tmp_path / "checkpoints" / "other.pyth")
    assert "no name of a checkpoint" in compare.inspect(tmp_path, STEPS).problems[0]


def test_a_toolkit_that_takes_another_file_for_the_newest_is_a_problem(tmp_path, monkeypatch):
    first = save(tmp_path, 1)
    save(tmp_path, 2)
    monkeypatch.setattr(compare, "newest_checkpoint", lambda output: first)
    assert "takes" in compare.inspect(tmp_path, STEPS).problems[0]


def test_temporary_files_are_seen_and_no_checkpoints(tmp_path):
    path = save(tmp_path, 1)
    (path.parent / ".checkpoint_epoch_00002.pyth.abc.part").write_bytes(b"half")
    found = compare.inspect(tmp_path, STEPS)
    assert found.temporary == [".checkpoint_epoch_00002.pyth.abc.part"]
    assert (found.position, found.problems) == (11, [])
    assert compare.positions_in(tmp_path, STEPS) == [11]


def test_largest_difference():
    one = {"a": torch.zeros(2), "b": torch.tensor([1.0, 2.0]), "c": torch.tensor(3), "e": torch.zeros(0)}
    other = {**one, "b": torch.tensor([1.0, 2.5])}
    assert compare.largest_difference(one, one) == (0.0, "")
    assert compare.largest_difference(one, other) == (0.5, "b")
    assert compare.largest_difference(one, {**one, "a": torch.zeros(3)}) == (math.inf, "a")
    assert compare.largest_difference(one, {"a": torch.zeros(2)})[0] == math.inf
    worst, name = compare.largest_difference(one, {**other, "a": torch.tensor([0.0, math.nan])})
    assert name == "a" and math.isnan(worst)


def test_a_difference_that_is_no_number_is_not_small():
    one, other = {"a": torch.zeros(1), "b": torch.zeros(1)}, {"a": torch.full((1,), math.nan), "b": torch.zeros(1)}
    worst, name = compare.largest_difference(one, other)
    assert math.isnan(worst) and name == "a"
    assert not worst <= 1e-5, "the cases ask in this way"


def test_weights_that_training_goes_on_with(tmp_path):
    save(tmp_path, 1)
    assert compare.trained_weights(tmp_path)["w"].tolist() == [2, 2, 2]
    with pytest.raises(UserError, match="has no checkpoint"):
        compare.trained_weights(tmp_path / "none")
