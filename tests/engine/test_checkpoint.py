"""Checkpoints: whole or not there, read without running anything, refused when they are of another run."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest
import torch
from torch import nn

from tests.toy import same_bits
from uniformer_video.engine.checkpoint import (
    Checkpoint,
    best_path,
    checkpoint_path,
    checkpoints_in,
    newest_checkpoint,
    prune,
    read_checkpoint,
    remove_leftovers,
    restore_optimizer,
    restore_weights,
    save_checkpoint,
)
from uniformer_video.models.weight_files import read_weights
from uniformer_video.runtime.digest import content_digest
from uniformer_video.runtime.errors import DamagedFile, WeightError, WriteError


class Net(nn.Module):
    def __init__(self, width=3, classes=2):
        super().__init__()
        self.body = nn.Linear(4, width)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.norm(self.body(x)))


def optimizer_of(model, kind=torch.optim.AdamW, groups=1):
    parameters = list(model.parameters())
    cuts = [parameters] if groups == 1 else [parameters[:2], parameters[2:]]
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    return kind([{"params": cut} for cut in cuts], lr=0.1, **options)


def trained(seed=0, steps=3, kind=torch.optim.AdamW):
    torch.manual_seed(seed)
    model = Net()
    optimizer = optimizer_of(model, kind)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def checkpoint_of(model, optimizer, epoch=4, **more):
    more = {"class_names": ["a", "b"], "history": [{"epoch": 4, "val_top1": 50.0}], **more}
    return Checkpoint(epoch, model.state_dict(), optimizer.state_dict(), "TRAIN:\n  BATCH_SIZE: 4\n", **more)


def restore(checkpoint, path, model, optimizer, scaler):
    restore_weights(checkpoint, path, model)
    restore_optimizer(checkpoint, path, optimizer, scaler)


# ---------------------------------------------------------------------------------------------------------- places


def test_names(tmp_path):
    assert checkpoint_path(tmp_path, 7) == tmp_path / "checkpoints" / "checkpoint_epoch_00007.pyth"
    assert checkpoint_path(tmp_path, 3, 120) == tmp_path / "checkpoints" / "checkpoint_epoch_00003_step_000120.pyth"
    assert checkpoint_path(tmp_path, 3, 0) == checkpoint_path(tmp_path, 3)
    assert best_path(tmp_path) == tmp_path / "checkpoints" / "checkpoint_best.pyth"


def test_the_newest_has_the_most_epochs(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    assert newest_checkpoint(tmp_path) is None
    for epoch in (100000, 9, 10, 2):  # written in another order than that of their numbers
        checkpoint_path(tmp_path, epoch).touch()
    for other in ("checkpoint_epoch_.pyth", "xcheckpoint_epoch_999999.pyth"):
        (tmp_path / "checkpoints" / other).touch()
    (tmp_path / "checkpoints" / ".checkpoint_epoch_200000.pyth.x1.part").touch()  # left by a killed run
    assert newest_checkpoint(tmp_path) == checkpoint_path(tmp_path, 100000)
    best_path(tmp_path).touch()
    assert newest_checkpoint(tmp_path) == checkpoint_path(tmp_path, 100000)


def test_the_best_is_the_newest_where_it_is_the_only_one(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for other in ("checkpoint_epoch_.pyth", "last.pyth"):
        (tmp_path / "checkpoints" / other).touch()
    assert newest_checkpoint(tmp_path) is None
    best_path(tmp_path).touch()
    assert newest_checkpoint(tmp_path) == best_path(tmp_path)
    checkpoint_path(tmp_path, 1).touch()
    assert newest_checkpoint(tmp_path) == checkpoint_path(tmp_path, 1)


def made(folder, *places, best=False):
    """Make empty checkpoints after (epochs, steps), and return their paths."""
    (folder / "checkpoints").mkdir(exist_ok=True)
    paths = [checkpoint_path(folder, *place) for place in places]
    for path in [*paths, *([best_path(folder)] if best else [])]:
        path.touch()
    return paths


def test_they_come_newest_first(tmp_path):
    assert checkpoints_in(tmp_path) == []
    order = [(100000, 0), (10, 0), (9, 1000000), (9, 999999), (9, 20), (9, 0), (2, 7), (0, 5)]
    paths = made(tmp_path, *order[::2], *order[1::2], best=True)
    for other in ("checkpoint_epoch_00200_step_.pyth", "checkpoint_epoch_00200.pyth.old", "checkpoint_step_00200.pyth"):
        (tmp_path / "checkpoints" / other).touch()
    assert checkpoints_in(tmp_path) == [checkpoint_path(tmp_path, *place) for place in order]
    assert set(checkpoints_in(tmp_path)) == set(paths)
    assert newest_checkpoint(tmp_path) == checkpoint_path(tmp_path, 100000)


PLACES = [(3, 0), (2, 40), (2, 0), (1, 0)]


@pytest.mark.parametrize("keep", [0, 1, 2, 3, 4, 9])
def test_pruning_keeps_the_newest_and_the_best(tmp_path, keep):
    paths = made(tmp_path, *PLACES, best=True)
    stay = keep or len(paths)
    assert prune(tmp_path, keep) == paths[stay:]
    assert checkpoints_in(tmp_path) == paths[:stay]
    assert best_path(tmp_path).exists()
    assert prune(tmp_path, keep) == []


def test_pruning_does_not_count_what_the_run_went_back_behind(tmp_path):
    damaged, written, before, first = made(tmp_path, *PLACES)
    assert prune(tmp_path, 1, newest=written) == [before, first]
    assert checkpoints_in(tmp_path) == [damaged, written]
    assert prune(tmp_path, 1, newest=checkpoint_path(tmp_path, 7)) == [written]  # not there: of no account


def test_a_checkpoint_that_cannot_be_removed_is_left(tmp_path):
    newest, stuck, last = made(tmp_path, *PLACES[:3])
    stuck.unlink()
    stuck.mkdir()
    assert prune(tmp_path, 1) == [last]
    assert checkpoints_in(tmp_path) == [newest, stuck]


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    assert remove_leftovers(tmp_path / "none") == []
    (newest,) = made(tmp_path, (3, 0))
    (tmp_path / "test").mkdir()
    halves = [tmp_path / ".config.yaml.abcd_123.part", newest.with_name(f".{newest.name}.abcd_123.part")]
    others = [tmp_path / "test" / ".a.abcd_123.part", tmp_path / "weights.pth.part", tmp_path / "stdout.log"]
    for path in (*halves, *others):
        path.touch()
    assert remove_leftovers(tmp_path) == halves
    assert not any(path.exists() for path in halves)
    assert all(path.exists() for path in (*others, newest))


# --------------------------------------------------------------------------------------------------- write and read


def test_what_is_written_is_read(tmp_path):
    model, optimizer = trained()
    before = checkpoint_of(model, optimizer, best={"epoch": 2, "val_top1": 75.0})
    path = checkpoint_path(tmp_path, 4)
    save_checkpoint(before, path)  # makes the folder
    after = read_checkpoint(path)
    assert same_bits(after.model_state, before.model_state)
    for name in ("epoch", "scaler_state", "cfg", "class_names", "history", "best"):
        assert getattr(after, name) == getattr(before, name), name
    one, other = after.optimizer_state, before.optimizer_state
    assert one["param_groups"] == other["param_groups"]
    assert all(same_bits(one["state"][n], other["state"][n]) for n in other["state"])
    assert os.listdir(path.parent) == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444  # others of the group can read it


def test_a_checkpoint_holds_plain_content_for_others_to_load(tmp_path):
    model, optimizer = trained()
    path = tmp_path / "c.pyth"
    save_checkpoint(checkpoint_of(model, optimizer), path)
    content = torch.load(path, weights_only=True)
    assert set(content) == {
        *("epoch", "model_state", "optimizer_state", "scaler_state", "cfg", "class_names", "class_folders"),
        *(
            "history",
            "best",
            "step",
            "steps",
            "train_state",
            "average",
            "generators",
            "nonfinite",
            "epoch_loss",
            "world",
        ),
        "digest",
    }
    assert content.pop("digest") == content_digest(content)
    Net().load_state_dict(content["model_state"])


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    model, optimizer = trained()
    path = tmp_path / "checkpoint_epoch_00001.pyth"
    save_checkpoint(checkpoint_of(model, optimizer, epoch=1), path)
    old = path.read_bytes()

    def full_disk(content, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(WriteError) as error:
        save_checkpoint(checkpoint_of(model, optimizer, epoch=2), path)
    assert str(error.value) == (
        f"'{path}' cannot be written (No space left on device); make room there and run the same command again"
    )
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [path.name]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "checkpoints").touch()
    with pytest.raises(WriteError, match=r"checkpoints' cannot be written \(File exists\)"):
        save_checkpoint(checkpoint_of(*trained()), checkpoint_path(tmp_path, 1))


def test_a_bit_that_changes_is_noticed(tmp_path):
    path = tmp_path / "c.pyth"
    model, optimizer = trained()
    save_checkpoint(checkpoint_of(model, optimizer), path)
    content = bytearray(path.read_bytes())
    place = content.index(model.body.weight.detach().numpy().tobytes())
    content[place] ^= 1  # the last bit of a weight, which torch.load does not notice
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    with pytest.raises(DamagedFile, match="its content is not what its digest says"):
        read_checkpoint(path)


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    """A number of numpy's, say: a defect of ours, which shows at the first writing and not when a run is resumed."""
    with pytest.raises(TypeError, match=r"content\['history'\]\[0\]\['val_top1'\] is a numpy.float64"):
        save_checkpoint(checkpoint_of(*trained(), history=[{"val_top1": np.float64(1)}]), tmp_path / "c.pyth")
    assert os.listdir(tmp_path) == []


MORE = {
    "step": 7,
    "average": {"updates": 31},
    "generators": [{"python": (3, (1, 2), None), "torch": torch.arange(5, dtype=torch.uint8)}],
    "nonfinite": {"total": 2, "in_row": 1},
    "epoch_loss": [3.5, 12.0],
    "world": 2,
}


def test_the_place_within_an_epoch_and_all_that_goes_with_it(tmp_path):
    path = checkpoint_path(tmp_path, 4, 7)
    model, optimizer = trained()
    trained_on = {name: value + 1 for name, value in model.state_dict().items()}
    save_checkpoint(checkpoint_of(model, optimizer, train_state=trained_on, **MORE), path)
    after = read_checkpoint(path)
    assert same_bits(after.train_state, trained_on)
    (states,) = after.generators
    assert torch.equal(states.pop("torch"), MORE["generators"][0]["torch"])
    assert {name: getattr(after, name) for name in MORE} == {**MORE, "generators": [{"python": (3, (1, 2), None)}]}
    assert same_bits(read_weights(path), model.state_dict())  # whoever reads it predicts with the average


class Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_in_a_file_is_run(tmp_path):
    path, proof = tmp_path / "checkpoint_epoch_00001.pyth", tmp_path / "ran"
    model, optimizer = trained()
    content = vars(checkpoint_of(model, optimizer))
    torch.save({**content, "history": [Malice(proof)]}, path)
    with pytest.raises(WeightError, match="holds an object that is not a tensor") as error:
        read_checkpoint(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not proof.exists()


def test_a_weight_file_is_no_checkpoint(tmp_path):
    path = tmp_path / "w.pyth"
    for content in (Net().state_dict(), {"model_state": Net().state_dict()}, [1, 2]):
        torch.save(content, path)
        with pytest.raises(WeightError) as error:
            read_checkpoint(path)
        assert str(error.value) == (
            f"{path} is no checkpoint to go on from: it has no epoch, optimizer or configuration; use it as "
            "TRAIN.CHECKPOINT_FILE_PATH with TRAIN.CHECKPOINT_EPOCH_RESET True, in another OUTPUT_DIR"
        )


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("epoch", "4", "str"),
        ("epoch", 4.0, "float"),
        ("model_state", [1], "list"),
        ("optimizer_state", None, "NoneType"),
        ("scaler_state", [], "list"),
        ("history", {}, "dict"),
        ("history", None, "NoneType"),
        ("cfg", {}, "dict"),
        ("best", 75.0, "float"),
        ("class_names", "a", "str"),
        ("class_folders", [], "list"),
        ("step", 1.0, "float"),
        ("step", None, "NoneType"),
        ("train_state", [], "list"),
        ("average", 3, "int"),
        ("generators", None, "NoneType"),
        ("generators", {}, "dict"),
        ("nonfinite", None, "NoneType"),
        ("nonfinite", [0], "list"),
        ("epoch_loss", 1.0, "float"),
        ("world", "2", "str"),
    ],
)
def test_a_field_of_another_kind_is_refused(tmp_path, name, value, kind):
    path = tmp_path / "c.pyth"
    torch.save({**vars(checkpoint_of(*trained())), name: value}, path)
    with pytest.raises(WeightError) as error:
        read_checkpoint(path)
    assert str(error.value) == f"{path} is no checkpoint of this toolkit: its {name} is a {kind}"


def test_what_is_not_needed_may_be_absent_or_more(tmp_path):
    path = tmp_path / "c.pyth"
    whole = vars(checkpoint_of(*trained()))
    needed = {name: whole[name] for name in ("epoch", "model_state", "optimizer_state", "cfg")}
    torch.save({**needed, "other": 1}, path)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.epoch, checkpoint.cfg) == (4, "TRAIN:\n  BATCH_SIZE: 4\n")
    assert same_bits(checkpoint.model_state, whole["model_state"])
    rest = (checkpoint.scaler_state, checkpoint.class_names, checkpoint.history, checkpoint.best)
    assert rest == ({}, None, [], None)
    later = (checkpoint.step, checkpoint.train_state, checkpoint.average, checkpoint.generators)
    assert later == (0, None, None, [])
    assert (checkpoint.nonfinite, checkpoint.epoch_loss, checkpoint.world) == ({}, [], 1)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint\n", None])
def test_files_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "c.pyth"
    if content is None:
        save_checkpoint(checkpoint_of(*trained()), path)
        content = path.read_bytes()[:-200]
    path.write_bytes(content)
    with pytest.raises(WeightError) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


# --------------------------------------------------------------------------------------------------------- restore


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD])
def test_a_restored_run_goes_on_to_the_same_bits(tmp_path, kind):
    path = tmp_path / "c.pyth"
    model, optimizer = trained(kind=kind)
    save_checkpoint(checkpoint_of(model, optimizer), path)
    other = Net()
    other_optimizer = optimizer_of(other, kind)
    restore(read_checkpoint(path), path, other, other_optimizer, torch.amp.GradScaler("cpu", enabled=False))
    x = torch.randn(5, 4)
    for net, opt in ((model, optimizer), (other, other_optimizer)):
        opt.zero_grad()
        net(x).square().sum().backward()
        opt.step()
    assert same_bits(model.state_dict(), other.state_dict())


def test_training_goes_on_with_the_weights_behind_the_average():
    model, optimizer = trained()
    other = Net()
    own = {name: value + 1 for name, value in model.state_dict().items()}
    restore_weights(checkpoint_of(model, optimizer, train_state=own), "c", other)
    assert same_bits(other.state_dict(), own)


def test_a_sharded_optimizer_takes_the_state_by_itself():
    model, optimizer = trained()
    other = optimizer_of(Net())
    taken = []
    checkpoint, scaler = checkpoint_of(model, optimizer), torch.amp.GradScaler("cpu", enabled=False)
    restore_optimizer(checkpoint, "c", other, scaler, load=taken.append)
    assert taken == [checkpoint.optimizer_state] and taken[0] is checkpoint.optimizer_state
    assert not other.state

    def refuse(state):
        raise ValueError("no shard of that size")

    with pytest.raises(WeightError, match=r"c cannot be resumed, its optimizer differs \(no shard of that size\); set"):
        restore_optimizer(checkpoint, "c", other, scaler, load=refuse)
    with pytest.raises(WeightError, match="it is of another SOLVER.OPTIMIZING_METHOD"):  # before anything is loaded
        restore_optimizer(checkpoint, "c", optimizer_of(Net(), torch.optim.SGD), scaler, load=pytest.fail)


def restore_error(checkpoint, model, optimizer):
    with pytest.raises(WeightError) as error:
        restore(checkpoint, "dir/c.pyth", model, optimizer, torch.amp.GradScaler("cpu", enabled=False))
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith("); set OUTPUT_DIR to a new folder, or the configuration to that of the run")
    return text


@pytest.mark.parametrize(
    ("options", "first"),
    [({"width": 5}, "body.weight [3, 4], here [5, 4]"), ({"classes": 7}, "head.weight [2, 3], here [7, 3]")],
)
def test_another_network_is_refused_and_left_as_it_was(options, first):
    other = Net(**options)  # a head of another size is no exception here
    before = {name: value.clone() for name, value in other.state_dict().items()}
    text = restore_error(checkpoint_of(*trained()), other, optimizer_of(other))
    assert text.startswith("dir/c.pyth cannot be resumed, it is of another network (")
    assert f"({first};" in text
    assert same_bits(other.state_dict(), before)


@pytest.mark.parametrize(
    ("saved", "own"),
    [
        (torch.optim.AdamW, torch.optim.SGD),
        (torch.optim.SGD, torch.optim.AdamW),
        (torch.optim.AdamW, torch.optim.Adam),
        (torch.optim.Adam, torch.optim.AdamW),
    ],
)
def test_another_method_is_refused(saved, own):
    model = Net()
    assert restore_error(checkpoint_of(*trained(kind=saved)), model, optimizer_of(model, own)).startswith(
        "dir/c.pyth cannot be resumed, its optimizer differs (it is of another SOLVER.OPTIMIZING_METHOD)"
    )


def test_an_older_adamw_that_does_not_say_so_is_taken():
    checkpoint = checkpoint_of(*trained())
    del checkpoint.optimizer_state["param_groups"][0]["decoupled_weight_decay"]
    model = Net()
    restore(checkpoint, "c", model, optimizer_of(model), torch.amp.GradScaler("cpu", enabled=False))
    assert same_bits(model.state_dict(), checkpoint.model_state)


def test_other_groups_are_refused():
    model = Net()
    assert restore_error(checkpoint_of(*trained()), model, optimizer_of(model, groups=2)).startswith(
        "dir/c.pyth cannot be resumed, its optimizer differs ("
    )


def named(model, names, *scales):
    """Return an optimizer of a group for each of ``scales``, the parameters spread over them, with their names."""
    parameters = dict(model.named_parameters())
    share = len(names) // len(scales)
    cuts = [names[n * share : (n + 1) * share] for n in range(len(scales))]
    return torch.optim.AdamW(
        [
            {
                "params": [parameters[name] for name in cut],
                "names": cut,
                **({} if scale is None else {"lr_scale": scale}),
            }
            for cut, scale in zip(cuts, scales, strict=True)
        ]
    )


DIFFERS = "it has other groups of parameters: MODEL.FREEZE, SOLVER.LAYER_DECAY or SOLVER.ZERO_WD_1D_PARAM differs"


@pytest.mark.parametrize(
    ("names", "scales", "taken"),
    [
        ([0, 1], (0.5, 1.0), True),
        ([0, 1], (0.5, 0.9), False),
        ([0, 1], (0.5, None), True),  # without a factor it is 1
        ([0, 1], (None, None), False),
        ([1, 0], (0.5, 1.0), False),  # other parameters, of whatever size
    ],
)
def test_groups_of_the_same_parameters_and_rates(names, scales, taken):
    model = Net()
    own = [name for name, _ in model.named_parameters()][:2]
    checkpoint = checkpoint_of(model, named(model, own, 0.5, 1.0))
    optimizer = named(model, [own[n] for n in names], *scales)
    if taken:
        restore(checkpoint, "c", model, optimizer, torch.amp.GradScaler("cpu", enabled=False))
    else:
        assert restore_error(checkpoint, model, optimizer).startswith(
            f"dir/c.pyth cannot be resumed, its optimizer differs ({DIFFERS})"
        )


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ({}, "'param_groups'"),
        ({"state": {}, "param_groups": []}, "list index out of range"),
        ({"state": {}, "param_groups": {}}, "0"),
        ({"state": {}, "param_groups": None}, "'NoneType' object is not subscriptable"),
        ({"state": {}, "param_groups": [7]}, "argument of type 'int' is not iterable"),
    ],
)
def test_an_optimizer_state_of_another_program_is_refused(state, cause):
    model = Net()
    checkpoint = checkpoint_of(*trained())
    checkpoint.optimizer_state = state
    assert restore_error(checkpoint, model, optimizer_of(model)).startswith(
        f"dir/c.pyth cannot be resumed, its optimizer differs ({cause}"
    )


@pytest.mark.parametrize("moments", [3, [1, 2], None])
def test_moments_of_another_program_are_refused(moments):
    model = Net()
    checkpoint = checkpoint_of(*trained())
    checkpoint.optimizer_state = {**checkpoint.optimizer_state, "state": moments}
    assert restore_error(checkpoint, model, optimizer_of(model)).startswith(
        "dir/c.pyth cannot be resumed, its optimizer differs ("
    )


def test_the_scaler_goes_on_where_it_is_used():
    model, optimizer = trained()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    checkpoint = checkpoint_of(model, optimizer)
    checkpoint.scaler_state = {**scaler.state_dict(), "scale": 32.0}
    restore(checkpoint, "c", model, optimizer, scaler)
    assert scaler.state_dict()["scale"] == 32.0
    restore(checkpoint, "c", model, optimizer, torch.amp.GradScaler("cpu", enabled=False))  # fp16 was turned off
    checkpoint.scaler_state = {}
    restore(checkpoint, "c", model, optimizer, scaler)  # fp16 was turned on
    assert scaler.state_dict()["scale"] == 32.0
