"""Linear maps on CPUs without gradients, by oneDNN, bias and GELU included.

Torch sends float32 products to the BLAS it is built with and adds the bias in a pass of its own. oneDNN does all of it
at once and is the faster one on the processors measured (docs/PERFORMANCE.md). Its operator is what torch's compiler
uses; a torch without it gets torch's own linear map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cpu_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """Return ``x weight^T + bias``, and exact GELU of that where ``gelu`` is set; no gradients.

    Args:
        x: (..., C), float32 or bfloat16, on the CPU.
        weight: (K, C) of the same dtype.
        bias: (K,) of the same dtype, or None.
        gelu: whether GELU follows.

    Returns:
        (..., K) of the same dtype.
    """
    operator = _operator(x.dtype)
    if operator is None or not x.numel():
        result = F.linear(x, weight, bias)
        return torch.ops.aten.gelu_(result) if gelu else result
    return operator(x, weight, bias, *(("gelu", [None], "none") if gelu else ("none", [], "")))


def _operator(dtype: torch.dtype) -> torch._ops.OpOverloadPacket | None:
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return None
    # Torch's own linear map has a way of its own where oneDNN has none: on processors without bfloat16.
    if dtype is torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)
