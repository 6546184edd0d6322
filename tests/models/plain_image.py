"""An independent image network: torch's own 2D modules on (B, C, H, W), under the names of the published image weights.

It shares no code with the package, and has no time at all.
"""

from __future__ import annotations

import torch
from torch import nn


class Mlp(nn.Module):
    def __init__(self, width, ratio, make):
        super().__init__()
        self.fc1, self.fc2 = make(width, int(width * ratio)), make(int(width * ratio), width)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """What both kinds have: gammas, position encoding, two branches."""

    def __init__(self, width, scaled, shape):
        super().__init__()
        self.scaled = scaled
        if scaled:
            self.gamma_1 = nn.Parameter(torch.ones(shape))
            self.gamma_2 = nn.Parameter(torch.ones(shape))
        self.pos_embed = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def add(self, x, first, second):
        x = x + (self.gamma_1 if self.scaled else 1) * first(x)
        return x + (self.gamma_2 if self.scaled else 1) * second(x)


class Local(Block):
    def __init__(self, width, ratio, scaled):
        super().__init__(width, scaled, (1, width, 1, 1))
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.attn = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm2 = nn.BatchNorm2d(width)
        self.mlp = Mlp(width, ratio, lambda i, o: nn.Conv2d(i, o, 1))

    def forward(self, x):
        x = x + self.pos_embed(x)
        return self.add(
            x, lambda y: self.conv2(self.attn(self.conv1(self.norm1(y)))), lambda y: self.mlp(self.norm2(y))
        )


class SelfAttention(nn.Module):
    def __init__(self, width, head_dim):
        super().__init__()
        self.head_dim = head_dim
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens):
        query, key, value = (part.split(self.head_dim, -1) for part in self.qkv(tokens).chunk(3, -1))
        weights = [torch.softmax(q @ k.mT * self.head_dim**-0.5, -1) for q, k in zip(query, key, strict=True)]
        return self.proj(torch.cat([w @ v for w, v in zip(weights, value, strict=True)], -1))


class Global(Block):
    def __init__(self, width, ratio, scaled, head_dim):
        super().__init__(width, scaled, (width,))
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, head_dim)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, ratio, nn.Linear)

    def forward(self, x):
        x = x + self.pos_embed(x)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = self.add(tokens, lambda y: self.attn(self.norm1(y)), lambda y: self.mlp(self.norm2(y)))
        return tokens.transpose(1, 2).reshape(x.shape)


class Patches(nn.Module):
    def __init__(self, inputs, outputs, size):
        super().__init__()
        self.norm, self.proj = nn.LayerNorm(outputs), nn.Conv2d(inputs, outputs, size, size)

    def forward(self, x):
        return self.norm(self.proj(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Convs(nn.Module):
    def __init__(self, *widths):
        super().__init__()
        layers = []
        for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.GELU()]
        self.proj = nn.Sequential(*layers[:-1])

    def forward(self, x):
        return self.proj(x)


class PlainImage(nn.Module):
    """The image network; ``ratios`` and ``scaled`` have one value for each stage."""

    def __init__(self, *, num_classes, depths, widths, head_dim, ratios, scaled, conv_stem, aux_head):
        super().__init__()
        channels = (3, *widths)
        for i in range(4):
            if conv_stem:
                embed = Convs(3, widths[0] // 2, widths[0]) if i == 0 else Convs(*channels[i : i + 2])
            else:
                embed = Patches(*channels[i : i + 2], 4 if i == 0 else 2)
            setattr(self, f"patch_embed{i + 1}", embed)
        for i in range(4):
            own = (widths[i], ratios[i], scaled[i])
            blocks = [Local(*own) if i < 2 else Global(*own, head_dim) for _ in range(depths[i])]
            setattr(self, f"blocks{i + 1}", nn.ModuleList(blocks))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Linear(widths[-1], num_classes)
        self.aux_head = nn.Linear(widths[-1], num_classes) if aux_head else None

    def forward(self, x):
        for i in range(1, 5):
            x = getattr(self, f"patch_embed{i}")(x)
            for block in getattr(self, f"blocks{i}"):
                x = block(x)
        x = self.norm(x)
        logits = self.head(x.mean((2, 3)))
        if self.aux_head is None or self.training:
            return logits
        tokens = x.flatten(2).transpose(1, 2)
        return logits + 0.5 * self.aux_head(tokens).max(1).values
