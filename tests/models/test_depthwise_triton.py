"""Triton's kernels against torch in float64: on a CPU in Triton's interpreter, on a GPU as they are."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.models.triton_cases import CASES, inputs, results

ROOT = Path(__file__).parents[2]
triton = pytest.importorskip("triton", reason="Triton is not installed (pip install triton, Linux)")
gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory) -> dict[str, np.ndarray]:
    """What the kernels give in the interpreter, by case and name."""
    version = importlib.metadata.version("triton")
    if tuple(int(part) for part in version.split(".")[:2]) < (3, 9):
        pytest.skip(f"the interpreter of Triton {version} does not go with NumPy 2.4; 3.9 does")
    file = tmp_path_factory.mktemp("triton") / "cases.npz"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.models.triton_cases", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(file) as content:
        return dict(content)


def exact(name: str) -> dict[str, torch.Tensor]:
    """The map and its gradients in float64; the kernel is rounded to the dtype of x first, as the map does it."""
    x, grad, weight, bias = inputs(name)
    volume = x.double().permute(0, 4, 1, 2, 3).requires_grad_()
    rounded = weight.to(x.dtype).double().requires_grad_()
    start = bias.double().requires_grad_()
    y = F.conv3d(volume, rounded, start, padding=[k // 2 for k in CASES[name][0]], groups=len(bias))
    y.backward(grad.double().permute(0, 4, 1, 2, 3))
    found = {"y": y.detach(), "x": volume.grad}
    found = {key: value.permute(0, 2, 3, 4, 1) for key, value in found.items()}
    return {**found, "weight": rounded.grad, "bias": start.grad}


def check(name: str, got: dict[str, np.ndarray]) -> None:
    """Sums are float32 in every dtype: gradients of the weight are as exact as in float32, the map is rounded once."""
    step = torch.finfo(CASES[name][2]).eps
    for key, wanted in exact(name).items():
        found = torch.from_numpy(got[f"{name} {key}"]).double()
        assert found.shape == wanted.shape
        each = torch.finfo(torch.float32).eps * 8 if key in ("weight", "bias") else max(step, 1e-6)
        difference = (found - wanted).norm() / wanted.norm()
        assert difference <= each, (name, key, float(difference))


@pytest.mark.parametrize("name", CASES)
def test_in_the_interpreter(name, interpreted):
    check(name, interpreted)


@pytest.mark.parametrize("name", [pytest.param(name, marks=gpu) for name in CASES])
def test_on_a_gpu(name):
    found = results(name, "cuda")
    check(name, found)
    again = results(name, "cuda")
    assert all(np.array_equal(found[key], again[key]) for key in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "dtype", "capability"), [((3, 3, 3), "fp32", 80), ((3, 3, 3), "bf16", 90), ((5, 5, 5), "bf16", 90)]
)
def test_they_compile_for_a_card_that_is_not_here(kernel, dtype, capability):
    """Interpreted code may use what the compiler refuses; the compiler needs no GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from uniformer_video.models import depthwise_triton as kernels

    constants = dict(zip(("KT", "KH", "KW"), kernel, strict=True))
    constants |= {"HAS_BIAS": True, "ROWS": 7, "BLOCK_W": 8, "BLOCK_C": 64}
    for function, warps in ((kernels._map_kernel, 2), (kernels._weight_kernel, 4)):
        kinds = dict.fromkeys("BTHWC", "i32") | dict.fromkeys(constants, "constexpr")
        kinds |= {f"{name}_ptr": f"*{dtype}" for name in ("x", "weight", "y", "grad")}
        kinds |= {"bias_ptr": "*fp32", "part_ptr": "*fp32"}
        source = ASTSource(
            fn=function,
            signature={name: kinds[name] for name in function.arg_names},
            constexprs={name: value for name, value in constants.items() if name in function.arg_names},
        )
        options = {"num_warps": warps, "num_stages": 1, "enable_fp_fusion": True}
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert made.asm["cubin"] and ".target sm_" in made.asm["ptx"]


@pytest.mark.parametrize(
    ("extent", "sizes", "size"),
    [(56, range(4, 9), 8), (28, range(4, 9), 7), (14, range(4, 9), 7), (7, range(4, 9), 7), (10, range(4, 9), 5)]
    + [(3, range(4, 9), 4), (56, (8, 16), 8), (28, (8, 16), 16), (14, (8, 16), 16), (7, (8, 16), 8)],
)
def test_blocks_leave_few_positions_outside(extent, sizes, size):
    from uniformer_video.models.depthwise_triton import fewest_outside

    assert fewest_outside(extent, sizes) == size
