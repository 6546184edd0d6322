"""An independent reference of the hourglass networks: loops over clips and tokens, scores as a list of numbers.

It shares no code with the package and is written from the published description; see plain.py for the local stages.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.models.plain import _batch_norm, _conv, _layer_norm, _mlp, _same


def plain_hourglass(clips, params, *, depths, head_dim, prune_ratio, trade_off, training=False, image=False):
    """Return (logits, class token's logits, [map of each stage]) for clips (B, 3, T, H, W)."""
    x, maps = clips, []
    class_tokens = [params["cls_token"][0, 0]] * len(clips)
    scores = [None] * len(clips)
    for stage, depth in enumerate(depths, start=1):
        if stage == 4:
            class_tokens = [_linear(token, params, "cls_upsample") for token in class_tokens]
            scores = [_pool(own, x.shape[2:]) for own in scores]
        x = _head_of_stage(x, params, stage, training, image)
        for index in range(depth):
            name = f"blocks{stage}.{index}"
            x = x + _same(x, params, name + ".pos_embed")
            if stage <= 2:
                x = _local(x, params, name, training)
                continue
            ratio, weight = prune_ratio[stage - 1][index], trade_off[stage - 1][index]
            clips_after = []
            for clip in range(len(x)):
                patches = list(x[clip].flatten(1).T)
                patches, class_tokens[clip], scores[clip] = _global(
                    patches, class_tokens[clip], scores[clip], params, name, head_dim, ratio, weight
                )
                clips_after.append(torch.stack(patches, 1).view(x[clip].shape))
            x = torch.stack(clips_after)
        maps.append(x)
    maps[-1] = _batch_norm(x, params, "norm", training)
    logits = maps[-1].mean((2, 3, 4)) @ params["head.weight"].T + params["head.bias"]
    class_logits = [_linear(_norm(token, params, "norm_cls", 1e-5), params, "head_cls") for token in class_tokens]
    return logits, torch.stack(class_logits), maps


def _head_of_stage(x, params, stage, training, image):
    name = f"patch_embed{stage}"
    if stage > 1:
        kernel = params[name + ".proj.weight"].shape[2:]
        x = _conv(x, params, name + ".proj", stride=(1, 2, 2), padding=(1 if kernel[0] == 3 else 0, 0, 0))
        return _layer_norm(x, params, name + ".norm", 1e-5)
    time = 0 if image else 1
    x = _conv(x, params, name + ".proj.0", stride=(1, 2, 2), padding=(time, 1, 1))
    x = _batch_norm(x, params, name + ".proj.1", training)
    x = 0.5 * x * (1 + torch.erf(x / 2**0.5))
    x = _conv(x, params, name + ".proj.3", stride=(1 if image else 2, 2, 2), padding=(time, 1, 1))
    return _batch_norm(x, params, name + ".proj.4", training)


def _local(x, params, name, training):
    y = _conv(_batch_norm(x, params, name + ".norm1", training), params, name + ".conv1")
    x = x + params.get(name + ".gamma_1", 1) * _conv(_same(y, params, name + ".attn"), params, name + ".conv2")
    return x + params.get(name + ".gamma_2", 1) * _mlp(
        _batch_norm(x, params, name + ".norm2", training), params, name + ".mlp"
    )


def _global(patches, class_token, scores, params, name, head_dim, ratio, weight):
    """One clip: lists of tokens (C,) and of scores, in the order of the grid."""
    places = list(range(len(patches)))
    if ratio == 1:
        kept, merged = places, []
        tokens = [class_token, *patches]
    else:
        by_score = sorted(places, key=lambda place: -scores[place].item())
        kept, merged = by_score[: int(len(places) * ratio)], by_score[int(len(places) * ratio) :]
        total = sum(scores[place] for place in merged)
        representative = sum(scores[place] / total * patches[place] for place in merged)
        tokens = [class_token, *(patches[place] for place in kept), representative]

    attention, row = _attend([_norm(t, params, name + ".norm1", 1e-6) for t in tokens], params, name, head_dim)
    attention = [params.get(name + ".gamma_1", 1) * a for a in attention]
    tokens = [t + a for t, a in zip(tokens, attention, strict=True)]
    changes = []
    for token in tokens:
        hidden = _linear(_norm(token, params, name + ".norm2", 1e-6), params, name + ".mlp.fc1")
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
        changes.append(params.get(name + ".gamma_2", 1) * _linear(hidden, params, name + ".mlp.fc2"))
    tokens = [t + c for t, c in zip(tokens, changes, strict=True)]

    after, scores_after = list(patches), None if scores is None else list(scores)
    for place in merged:
        after[place] = patches[place] + attention[-1] + changes[-1]
    if scores is None:
        scores_after = [row[1 + place] for place in places]
    for position, place in enumerate(kept, start=1):
        after[place] = tokens[position]
        if scores is not None:
            scores_after[place] = (1 - weight) * scores[place] + weight * row[position]
    return after, tokens[0], scores_after


def _attend(tokens, params, name, head_dim):
    """Return what attention adds to each token, and the first token's weight on each, averaged over heads."""
    qkv = [_linear(token, params, name + ".attn.qkv").chunk(3) for token in tokens]
    mixed, rows = [[] for _ in tokens], []
    for start in range(0, len(tokens[0]), head_dim):
        part = slice(start, start + head_dim)
        for position, (query, _, _) in enumerate(qkv):
            products = torch.stack([query[part] @ key[part] for _, key, _ in qkv]) / head_dim**0.5
            weights = products.exp() / products.exp().sum()
            mixed[position].append(sum(w * value[part] for w, (_, _, value) in zip(weights, qkv, strict=True)))
            if position == 0:
                rows.append(weights)
    return [_linear(torch.cat(parts), params, name + ".attn.proj") for parts in mixed], sum(rows) / len(rows)


def _pool(scores, grid):
    if scores is None:
        return None
    time, height, width = grid
    pooled = []
    for t in range(time):
        for row in range(0, height - 1, 2):
            for column in range(0, width - 1, 2):
                corner = (t * height + row) * width + column
                window = [scores[corner + step] for step in (0, 1, width, width + 1)]
                pooled.append(sum(window) / 4)
    factor = sum(scores) / sum(pooled)
    return [factor * score for score in pooled]


def _linear(token, params, name):
    out = params[name + ".weight"] @ token
    return out + params[name + ".bias"] if name + ".bias" in params else out


def _norm(token, params, name, eps):
    return F.layer_norm(token, token.shape, params[name + ".weight"], params[name + ".bias"], eps)
