"""What a user reads at the end: a table of classes and splits, what was left out, and what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from uniformer_video.prepare.prepared import Bad, PreparedSet
from uniformer_video.prepare.sources import SPLITS

MOST_CLASSES = 40
"""Rows of the table."""

_NAME_WIDTH = 40


def class_table(prepared: PreparedSet) -> list[str]:
    """Return the lines of a table with a class in each row and its videos by split."""
    counts = prepared.class_counts()
    names = [_short(name) for name in prepared.class_names[:MOST_CLASSES]]
    last = "all videos" if prepared.multi_label else "all"
    width = max(map(len, [*names, last, "class"]))
    lines = [_row("class", [*SPLITS, "all"], width)]
    for name, count in zip(names, counts, strict=False):
        lines.append(_row(name, [*(count[split] for split in SPLITS), sum(count.values())], width))
    if len(counts) > MOST_CLASSES:
        lines.append(f"... and {len(counts) - MOST_CLASSES} more classes: all are in dataset.json")
    totals = [len(prepared.of_split(split)) for split in SPLITS]
    lines.append(_row(last, [*totals, sum(totals)], width))
    return lines


def bad_lines(bad: Sequence[Bad], most: int = 12) -> list[str]:
    """Return a line for each kind of fault: how many, and one of them."""
    counts = Counter(video.kind for video in bad)
    examples = {video.kind: video for video in reversed(bad)}
    width = len(str(max(counts.values(), default=0)))
    lines = [
        f"  {count:>{width}} {kind}, such as {examples[kind].path}: {examples[kind].reason}"
        for kind, count in counts.most_common(most)
    ]
    if len(counts) > most:
        lines.append(f"  and {len(counts) - most} more kinds")
    # A name may hold what a terminal takes for orders.
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]


def next_command(out: str) -> str:
    """Return the command that trains on a prepared set."""
    name = out.rstrip("/").split("/")[-1] or "mine"
    return (
        f"python tools/run_net.py --cfg configs/finetune.yaml DATA.PATH_TO_DATA_DIR {shlex.quote(out)} "
        f"OUTPUT_DIR {shlex.quote(f'runs/{name}')}"
    )


def _row(name: str, cells: Sequence[object], width: int) -> str:
    return f"{name:<{width}}" + "".join(f"{cell!s:>8}" for cell in cells)


def _short(name: str) -> str:
    name = "".join(c if c.isprintable() else "?" for c in name)
    return name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 3] + "..."
