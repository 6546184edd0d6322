"""Run the Triton kernels on a CPU, in Triton's interpreter, and write what they gave: ``triton_cases.py FILE.npz``.

A process of its own: the interpreter is chosen by the environment before ``triton`` is imported, for a whole process.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import torch

CASES = {
    "3x3x3": ((3, 3, 3), (1, 2, 5, 9, 20), torch.float32),  # rows, columns and channels that fill no block
    "5x5x5": ((5, 5, 5), (1, 3, 5, 3, 16), torch.bfloat16),
    "3x5x5": ((3, 5, 5), (2, 2, 4, 3, 16), torch.float16),  # two clips that must not see each other
    "one frame": ((3, 3, 3), (1, 1, 3, 1, 70), torch.float32),  # and two blocks of channels
    "1x3x3": ((1, 3, 3), (1, 2, 9, 2, 16), torch.float32),  # two blocks of rows
}
"""Kernel, shape of x and dtype by name."""


def inputs(name: str, device: str = "cpu") -> tuple[torch.Tensor, ...]:
    """Return x, the gradient of y, weight and bias of a case; x and the gradient in its dtype, the others float32."""
    kernel, shape, dtype = CASES[name]
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    x, grad = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
    weight = torch.randn(shape[-1], 1, *kernel, generator=generator).to(device)
    return x, grad, weight, torch.randn(shape[-1], generator=generator).to(device)


def results(name: str, device: str = "cpu") -> dict[str, np.ndarray]:
    """Return what the kernels give for a case, float32, by name."""
    from uniformer_video.models import depthwise_triton as kernels

    x, grad, weight, bias = inputs(name, device)
    transposed = x.permute(0, 4, 1, 2, 3).contiguous().permute(0, 2, 3, 4, 1)  # channels first in memory
    of_weight, of_bias = kernels.grad_weight(x, grad, CASES[name][0])
    found = {
        "y": kernels.convolve(transposed, weight, bias),
        "x": kernels.convolve(grad, weight, None, turned=True),
        "weight": of_weight,
        "bias": of_bias,
    }
    assert {found["y"].dtype, found["x"].dtype} == {x.dtype}
    assert {of_weight.dtype, of_bias.dtype} == {torch.float32}
    return {f"{name} {key}": value.float().cpu().numpy() for key, value in found.items()}


if __name__ == "__main__":
    assert os.environ["TRITON_INTERPRET"] == "1"
    from uniformer_video.models import depthwise_triton

    torch.set_num_threads(1)
    depthwise_triton.PARTS = 12  # so few that a program has several tiles, so many that there are several parts
    np.savez(sys.argv[1], **{key: value for name in CASES for key, value in results(name).items()})
