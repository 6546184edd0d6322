"""Two processes that share a training, against one that has it all: DDP, FSDP, and files moved between them.

All checks of two processes are of one run of two (:func:`_process`), whose results lie in a file of each.
"""

from __future__ import annotations

import copy
import traceback
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from tests.toy import same_bits
from uniformer_video.config import get_cfg
from uniformer_video.engine.parallel import data_parallel, gathered, share_statistics
from uniformer_video.engine.sharded_state import load_optimizer_state, whole_model_state, whole_optimizer_state
from uniformer_video.models.freeze import freeze
from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime.distributed import free_port
from uniformer_video.runtime.sharded import is_sharded, own_part, put, total_norm, whole
from uniformer_video.solver.build import build_optimizer, clip_gradients

CPU = torch.device("cpu")
WORLD = 2
STEPS = 4
CLIPS = 4
TOY = {"depths": (1, 1, 1, 1), "widths": (16, 16, 32, 32), "head_dim": 16, "mlp_ratio": 2, "num_classes": 3}

CASES = {
    "float32": {"dtype": torch.float32},
    "uneven": {"own": (3, 1)},
    "in parts, scaled, recomputed, token labelling": {
        "parts": 2,
        "network": {"layer_scale": True, "layer_scale_init": 0.1, "aux_head": True, "checkpoint_blocks": (1, 1, 1, 1)},
    },
    "frozen stages": {"frozen": 2},
    "hourglass": {"kind": Hourglass, "network": {"layer_scale": True}},
    "momentum": {"method": "sgd"},
}
"""Trainings by name, as the arguments of :class:`Training`. All but one in float64, where only mistakes differ."""

FEW = 2
"""Steps of all but the first of them."""


class Training:
    """A training of a toy network with frozen batch norms on the same four clips in each step.

    Args:
        parallel: ``"ddp"``, ``"fsdp"``; None: in this process alone.
        seed: of the start weights.
        own: clips of each process.
        parts: backward passes of a step.
        state: to go on from.
    """

    def __init__(
        self, parallel=None, *, seed=0, dtype=torch.float64, own=(2, 2), parts=1, kind=Uniformer, network=None,
        frozen=None, method="adamw", state=None,
    ):  # fmt: skip
        torch.manual_seed(seed)
        self.model = kind(**{**TOY, **(network or {})}).to(dtype)
        if state:
            self.model.load_state_dict(state["model"])
        if frozen:
            freeze(self.model, frozen)
        self.called = data_parallel(self.model, CPU, parallel) if parallel else self.model
        cfg = get_cfg()
        cfg.SOLVER.OPTIMIZING_METHOD, cfg.SOLVER.BASE_LR = method, 1e-3
        self.optimizer = build_optimizer(self.model, cfg)
        if state:
            load_optimizer_state(self.optimizer, state["optimizer"])
        generator = torch.Generator().manual_seed(5)
        clips = torch.randn(CLIPS, 3, 4, 32, 32, generator=generator, dtype=torch.float64).to(dtype)
        labels = torch.tensor([0, 1, 2, 1])
        if parallel:
            first = sum(own[: dist.get_rank()])
            mine = slice(first, first + own[dist.get_rank()])
            clips, labels = clips[mine], labels[mine]
        self.batch, self.parts, self.world = (clips, labels), parts, WORLD if parallel else 1
        self.norms = []

    def step(self):
        self.called.train()
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eval()
        self.optimizer.zero_grad()
        parts = list(zip(*(each.chunk(self.parts) for each in self.batch), strict=True))
        for number, (clips, labels) in enumerate(parts):
            with _waiting(self.called, number < len(parts) - 1):
                scores = self.called(clips)
                scores = scores if isinstance(scores, tuple) else (scores,)
                loss = sum(nn.functional.cross_entropy(each, labels) for each in scores) / len(scores)
                # The rule for processes with different numbers of clips.
                (loss * len(clips) * self.world / CLIPS).backward()
        self.norms.append(clip_gradients(self.model.parameters(), 0.5))
        self.optimizer.step()

    def state(self):
        model, optimizer = whole_model_state(self.model), whole_optimizer_state(self.optimizer)
        return copy.deepcopy({"model": model, "optimizer": optimizer})


@contextmanager
def _waiting(network, wait):
    if wait and hasattr(network, "no_sync"):
        with network.no_sync():
            yield
    else:
        yield


# ------------------------------------------------------------------------------------------- in each of two processes


def _trained(parallel, case):
    """Return what a training gives whose start weights are right on the first process alone."""
    return _steps(Training(parallel, seed=dist.get_rank(), **CASES[case]), case)


def _steps(training, case):
    for _ in range(STEPS if case == "float32" else FEW):
        training.step()
    if case in ("float32", "momentum"):
        return {"norms": training.norms, **training.state()}
    return {"norms": training.norms, "model": copy.deepcopy(whole_model_state(training.model))}


def _evaluated_in_between():
    """Train, and halfway evaluate, the one process three times and the other not at all, and save."""
    training = Training("fsdp")
    training.step()
    training.step()
    training.model.eval()
    with torch.no_grad():
        training.model(training.batch[0])  # together: FSDP leaves the outermost part whole
    half, scores = training.state(), []
    with gathered(training.model), torch.no_grad():
        inside = {name: is_sharded(p) for name, p in training.model.named_parameters()}
        if dist.get_rank() == 0:
            scores = [training.model(training.batch[0]) for _ in range(3)]
    training.step()
    training.step()
    return {"half": half, "scores": scores, "inside": inside, "end": training.state()}


def _goes_on(parallel, folder):
    """Go on from a file of one process."""
    training = Training(parallel, seed=9, state=torch.load(folder / "half.pyth", weights_only=True))
    training.step()
    training.step()
    return training.state()


def _memory():
    """Return the bytes of parameters and of the optimizer that this process keeps, and those of the whole."""
    training = Training("fsdp", network={"widths": (32, 32, 64, 64)})
    training.step()
    tensors = [*training.model.parameters()]
    tensors += [value for values in training.optimizer.state.values() for value in values.values() if value.ndim]
    return [sum(t.numel() * t.element_size() for t in ts) for ts in (map(own_part, tensors), tensors)]


def _tensors():
    """Put whole tensors of every small length into sharded ones and take them out again; norms of both kinds."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, zeros

    mesh, found = init_device_mesh("cpu", (WORLD,)), []
    for shape, dimension in [((n, 2), 0) for n in range(6)] + [((3, n), 1) for n in range(1, 6)]:
        tensor = torch.arange(float(shape[0] * shape[1])).view(shape) + 1
        for placement in (Shard(dimension), Replicate()):
            target = zeros(*shape, device_mesh=mesh, placements=[placement])
            put(target, tensor.T.contiguous().T)  # any layout in memory
            found.append((tensor, whole(target), own_part(target).shape))
    sharded = zeros(5, device_mesh=mesh, placements=[Shard(0)])
    put(sharded, torch.tensor([1.0, 2.0, 0.0, 4.0, 2.0]))
    norms = [total_norm([sharded]), total_norm([sharded, torch.tensor([12.0])])]
    try:
        put(sharded, torch.ones(6))
    except ValueError as error:
        found.append(str(error))
    return {"pairs": found, "norms": norms, "kept": whole(sharded)}


def _not_finite():
    """Clip, and unscale as float16 asks for it, a gradient of which the second process alone holds an infinite part."""
    training = Training("fsdp", dtype=torch.float32)
    training.step()
    before = [own_part(p.grad).clone() for p in training.model.parameters()]
    if dist.get_rank() == 1:
        own_part(training.model.blocks3[0].mlp.fc1.weight.grad)[0, 0] = torch.inf
        before = [own_part(p.grad).clone() for p in training.model.parameters()]
    norms = [clip_gradients(training.model.parameters(), *limits) for limits in ((0.1, None), (0.1, 0.1), (None, 0.1))]
    after = [own_part(p.grad).clone() for p in training.model.parameters()]
    weights = whole_model_state(training.model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(torch.ones(()))
    scaler.unscale_(training.optimizer)
    scaler.step(training.optimizer)
    scaler.update()
    stayed = same_bits(whole_model_state(training.model), weights)
    same = [torch.equal(a, b) for a, b in zip(after, before, strict=True)]
    return {"norms": norms, "untouched": same, "scale": scaler.get_scale(), "stayed": stayed}


def _statistics():
    training = Training("ddp")
    with torch.no_grad():
        training.model.norm.running_mean += dist.get_rank() + 1
    training.step()
    before = training.model.norm.running_mean.clone()
    share_statistics(training.model)
    return {"before": before, "after": training.model.norm.running_mean}


def _process(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD)
    found = {}
    try:
        for parallel in ("ddp", "fsdp"):
            found[parallel] = {case: _trained(parallel, case) for case in CASES}
            found["on " + parallel] = _goes_on(parallel, folder)
        found["between"] = _evaluated_in_between()
        found["memory"] = _memory()
        found["tensors"] = _tensors()
        found["not finite"] = _not_finite()
        found["statistics"] = _statistics()
        training = Training("fsdp")
        training.step()
        mine = {"keep": rank == 0}
        found["kept"] = whole_model_state(training.model, **mine), whole_optimizer_state(training.optimizer, **mine)
    except Exception:
        found["error"] = traceback.format_exc()
    torch.save(found, folder / f"{rank}.pyth")
    if "error" not in found:
        dist.destroy_process_group()


# ------------------------------------------------------------------------------------------------------ in this process


@pytest.fixture(scope="module")
def alone():
    """Return what each training gives in one process; as "plain" the whole state of one in float64."""
    found = {case: _steps(Training(**{**options, "parts": 1}), case) for case, options in CASES.items()}
    training = Training()
    for _ in range(STEPS):
        training.step()
    return {**found, "plain": training.state()}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Return what two processes found."""
    folder = tmp_path_factory.mktemp("two")
    training = Training()
    training.step()
    training.step()
    torch.save(training.state(), folder / "half.pyth")
    mp.spawn(_process, (free_port(), folder), nprocs=WORLD)
    found = [torch.load(folder / f"{rank}.pyth", weights_only=True) for rank in range(WORLD)]
    for each in found:
        assert "error" not in each, each["error"]
    return found


def assert_same(one, other, tolerance):
    """Assert that two states, of networks and optimizers, hold the same names and the same numbers but for rounding."""
    assert type(one) is type(other) or not isinstance(one, dict)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one.keys() - {"fused"}:  # whether a step is one kernel is for each machine to say
            assert_same(one[name], other[name], tolerance)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b, tolerance)
    elif isinstance(one, torch.Tensor):
        assert type(one) in (torch.Tensor, nn.Parameter) and type(other) in (torch.Tensor, nn.Parameter)
        torch.testing.assert_close(one, other, atol=tolerance, rtol=0)
    else:
        assert one == other


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_as_one_with_the_joined_batch(alone, both, parallel, case):
    tolerance = 1e-6 if case == "float32" else 1e-12
    for found in both:
        assert_same(found[parallel][case], alone[case], tolerance)
    assert same_bits(both[0][parallel][case]["model"], both[1][parallel][case]["model"])
    assert both[0][parallel][case]["norms"] == both[1][parallel][case]["norms"]
    assert min(alone[case]["norms"]) > 0.5  # clipping was at work


def test_training_moves_the_weights(alone):
    """So that networks that are the same are no networks that were never trained."""
    start = Training().model.state_dict()
    moved = [(start[name] - value).abs().max() for name, value in alone["plain"]["model"].items() if "weight" in name]
    assert min(moved) > 1e-3


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_file_of_one_process_goes_on_in_two(alone, both, parallel):
    for found in both:
        assert_same(found["on " + parallel], alone["plain"], 1e-12)


def test_a_file_of_two_processes_goes_on_in_one(alone, both):
    training = Training(seed=9, state=both[0]["between"]["half"])
    training.step()
    training.step()
    assert_same(training.state(), alone["plain"], 1e-12)


def test_evaluating_a_sharded_network_needs_no_other_process_and_changes_nothing(alone, both):
    network = Training(state=both[0]["between"]["half"]).model.eval()
    clips = Training().batch[0][:2]
    with torch.no_grad():
        expected = network(clips)
    assert len(both[0]["between"]["scores"]) == 3 and both[1]["between"]["scores"] == []
    for scores in both[0]["between"]["scores"]:
        assert torch.equal(scores, expected)
    for found in both:
        assert not any(found["between"]["inside"].values())
        assert_same(found["between"]["end"], alone["plain"], 1e-12)


def test_each_process_keeps_half(both):
    (own, total), (others, same_total) = (found["memory"] for found in both)
    assert total == same_total == own + others
    assert 0.45 < own / total < 0.55


def test_whole_tensors_go_into_parts_and_come_back(both):
    for rank, found in enumerate(both):
        *pairs, refusal = found["tensors"]["pairs"]
        for tensor, back, _ in pairs:
            assert type(back) is torch.Tensor and torch.equal(tensor, back)
        shapes = [tuple(shape) for _, _, shape in pairs[::2]]
        assert shapes[:6] == [[(0, 2), (1, 2), (1, 2), (2, 2), (2, 2), (3, 2)],
                              [(0, 2), (0, 2), (1, 2), (1, 2), (2, 2), (2, 2)]][rank]  # fmt: skip
        assert refusal == "a tensor of shape (6,) does not fit into one of (5,)"
        assert found["tensors"]["kept"].tolist() == [1, 2, 0, 4, 2]


def test_norms_count_sharded_tensors_whole_and_others_once(both):
    for found in both:
        assert [norm.item() for norm in found["tensors"]["norms"]] == [5, 13]
        assert {type(norm) for norm in found["tensors"]["norms"]} == {torch.Tensor}


def test_every_process_learns_of_a_gradient_that_one_cannot_use(both):
    for found in both:
        assert [norm.item() for norm in found["not finite"]["norms"]] == [torch.inf] * 3
        assert all(found["not finite"]["untouched"])
        assert found["not finite"]["stayed"] and found["not finite"]["scale"] == 1.0


def test_statistics_are_each_process_s_own_until_they_are_shared(both):
    first, second = (found["statistics"] for found in both)
    assert torch.equal(second["before"], first["before"] + 1)
    assert torch.equal(second["after"], first["after"]) and torch.equal(first["after"], first["before"])


def test_a_process_without_use_for_the_state_gets_none_of_it(both):
    (model, optimizer), (nothing, numbers) = (found["kept"] for found in both)
    assert set(nothing) == {name for name in model if "running" in name or "num_batches" in name}
    assert optimizer["param_groups"] == numbers["param_groups"] and optimizer["state"].keys() == numbers["state"].keys()
    for number, values in numbers["state"].items():
        assert {name: None if value is None else value.item() for name, value in values.items()} == {
            "step": 1, "exp_avg": None, "exp_avg_sq": None}  # fmt: skip
        assert optimizer["state"][number]["exp_avg"].is_floating_point()
