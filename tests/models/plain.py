"""An independent reference of the network: functions on a dict of parameters, (B, C, T, H, W) contiguous all the way.

It shares no code with the package: ``F.conv3d`` for every convolution (pointwise ones too), matrix-product attention,
``F.batch_norm`` on volumes. Running statistics in ``params`` are updated in place when ``training``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def _layer_norm(volume, params, name, eps):
    tokens = volume.movedim(1, -1)
    width = tokens.shape[-1:]
    normed = F.layer_norm(tokens, width, params[name + ".weight"], params[name + ".bias"], eps)
    return normed.movedim(-1, 1).contiguous()


def _batch_norm(volume, params, name, training):
    p = {k: params[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")}
    return F.batch_norm(volume, **p, training=training, momentum=0.1, eps=1e-5)


def _conv(volume, params, name, **kwargs):
    weight = params[name + ".weight"]
    if weight.ndim == 2:
        weight = weight[:, :, None, None, None]
    return F.conv3d(volume, weight, params.get(name + ".bias"), **kwargs)


def _same(volume, params, name):
    kernel = params[name + ".weight"].shape[2:]
    return _conv(volume, params, name, padding=[k // 2 for k in kernel], groups=volume.shape[1])


def _mlp(volume, params, name):
    hidden = _conv(volume, params, name + ".fc1")
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    return _conv(hidden, params, name + ".fc2")


def _attention(tokens, params, name, head_dim):
    """(groups, N, C): softmax(Q K^T / sqrt(d)) V within each group, head by head."""
    qkv = tokens @ params[name + ".qkv.weight"].T + params[name + ".qkv.bias"]
    query, key, value = qkv.chunk(3, dim=-1)
    heads = []
    for start in range(0, tokens.shape[-1], head_dim):
        part = slice(start, start + head_dim)
        weights = torch.softmax(query[..., part] @ key[..., part].transpose(1, 2) / head_dim**0.5, dim=-1)
        heads.append(weights @ value[..., part])
    return torch.cat(heads, -1) @ params[name + ".proj.weight"].T + params[name + ".proj.bias"]


def _attention_branch(x, params, name, head_dim, split):
    b, c, t, h, w = x.shape
    if not split:
        tokens = _layer_norm(x, params, name + ".norm1", 1e-6).flatten(2).transpose(1, 2)
        return _attention(tokens, params, name + ".attn", head_dim).transpose(1, 2).reshape(x.shape)
    timed = _layer_norm(x, params, name + ".t_norm", 1e-6)
    mixed = torch.empty_like(x)
    for row in range(h):
        for column in range(w):
            here = timed[:, :, :, row, column].transpose(1, 2)
            mixed[:, :, :, row, column] = _attention(here, params, name + ".t_attn", head_dim).transpose(1, 2)
    normed = _layer_norm(x + mixed, params, name + ".norm1", 1e-6)
    frames = [normed[:, :, i].flatten(2).transpose(1, 2) for i in range(t)]
    frames = [_attention(f, params, name + ".attn", head_dim).transpose(1, 2).reshape(b, c, h, w) for f in frames]
    return torch.stack(frames, 2)


def _strided(x, params, name, first, training):
    """What heads a stage: convolution and LayerNorm, or convolutions and BatchNorms where the names say so."""
    if name + ".proj.weight" in params:
        kernel = params[name + ".proj.weight"].shape[2:]
        stride = (1 if kernel[0] == 1 else 2, 4, 4) if first else (1, 2, 2)
        x = _conv(x, params, name + ".proj", stride=stride, padding=(1 if kernel[0] == 3 else 0, 0, 0))
        return _layer_norm(x, params, name + ".norm", 1e-5)
    reach = params[name + ".proj.0.weight"].shape[2] // 2
    x = _conv(x, params, name + ".proj.0", stride=(1, 2, 2), padding=(reach, 1, 1))
    x = _batch_norm(x, params, name + ".proj.1", training)
    if not first:
        return x
    x = 0.5 * x * (1 + torch.erf(x / 2**0.5))
    x = _conv(x, params, name + ".proj.3", stride=(1 + reach, 2, 2), padding=(reach, 1, 1))
    return _batch_norm(x, params, name + ".proj.4", training)


def _scaled(branch, params, name):
    """The branch times its layer scale, where there is one."""
    return branch * params[name].reshape(1, -1, 1, 1, 1) if name in params else branch


def plain_uniformer(clips, params, *, depths, head_dim, training=False, split=False):
    """Return (logits, [map of each stage]) for clips (B, 3, T, H, W)."""
    x, maps = clips, []
    for stage, depth in enumerate(depths, start=1):
        x = _strided(x, params, f"patch_embed{stage}", stage == 1, training)
        for index in range(depth):
            name = f"blocks{stage}.{index}"
            x = x + _same(x, params, name + ".pos_embed")
            if stage <= 2:
                y = _conv(_batch_norm(x, params, name + ".norm1", training), params, name + ".conv1")
                mixed = _conv(_same(y, params, name + ".attn"), params, name + ".conv2")
                x = x + _scaled(mixed, params, name + ".gamma_1")
                normed = _batch_norm(x, params, name + ".norm2", training)
            else:
                x = x + _scaled(_attention_branch(x, params, name, head_dim, split), params, name + ".gamma_1")
                normed = _layer_norm(x, params, name + ".norm2", 1e-6)
            x = x + _scaled(_mlp(normed, params, name + ".mlp"), params, name + ".gamma_2")
        maps.append(x)
    maps[-1] = _batch_norm(x, params, "norm", training)
    return maps[-1].mean((2, 3, 4)) @ params["head.weight"].T + params["head.bias"], maps
