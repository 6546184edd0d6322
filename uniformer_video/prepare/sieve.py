"""Which videos of a source cannot be used, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from uniformer_video.prepare.prepared import Bad, unlistable
from uniformer_video.prepare.sources import Entry
from uniformer_video.video.probe import Probe

# Of equal videos in several splits the one that is tested on stays: a train list may lose one, a benchmark may not.
_PRECEDENCE = {"test": 0, "val": 1, "train": 2, "": 3}

_ROUNDING_SECONDS = 0.001  # containers keep times in such units


def sift_entries(entries: Sequence[Entry], *, multi_label: bool) -> tuple[list[Entry], list[Bad]]:
    """Return the entries that can be looked at, one for each file, and the others.

    A file that is listed with different labels is left out altogether: nobody knows which are right.

    Args:
        entries: as the source has them.
        multi_label: whether a video may have several labels.
    """
    by_path: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_path[entry.path].append(entry)
    good, bad = [], []
    for path, same in by_path.items():
        fault = unlistable(path, multi_label=multi_label)
        if fault:
            bad.append(_bad(same[0], "path", fault))
        elif len({frozenset(entry.labels) for entry in same}) > 1:
            told = ", ".join(f"{_words(entry)} ({entry.where})" for entry in same[:4])
            reason = f"listed with different labels: {told}; write all labels of a video in one place"
            bad.append(Bad(path, "label conflict", reason))
        else:
            first, *others = sorted(same, key=lambda entry: _PRECEDENCE[entry.split])
            good.append(first)
            bad += [_bad(entry, "listed twice", f"listed before, in {first.where}") for entry in others]
    return good, bad


def sift_probes(
    entries: Sequence[Entry],
    probes: Mapping[str, Probe],
    *,
    min_frames: int = 0,
    min_seconds: float = 0.0,
    keep_duplicates: bool = False,
) -> tuple[list[Entry], list[Bad]]:
    """Return the entries whose files can be used, and the others.

    Of files with the same bytes the first by name stays (of a source with splits, the one in test, then in val). Where
    they are kept, those stay too that are not in another split by the source, and all become one group, in the split of
    the first: no split trains on what another tests.

    Args:
        entries: one for each file.
        probes: what was seen, by path.
        min_frames: shorter videos are bad.
        min_seconds: shorter videos are bad.
        keep_duplicates: keep files with the same bytes, in one split.
    """
    good, bad = [], []
    for entry in entries:
        probe = probes[entry.path]
        if not probe.ok:
            bad.append(_bad(entry, probe.kind or "unreadable", probe.reason))
        elif probe.frames < min_frames:
            bad.append(_bad(entry, "too short", f"{probe.frames} frames, --min-frames is {min_frames}"))
        elif probe.seconds < min_seconds - _ROUNDING_SECONDS:
            bad.append(_bad(entry, "too short", f"{probe.seconds:.2f} seconds, --min-seconds is {min_seconds:g}"))
        else:
            good.append(entry)
    twins: dict[str, list[Entry]] = defaultdict(list)
    for entry in good:
        if probes[entry.path].sha256:
            twins[probes[entry.path].sha256].append(entry)
    dropped, kept = set(), []
    home: dict[str, str] = {}  # the split of each kept twin: its own group may be in another
    for same in twins.values():
        first, *others = sorted(same, key=lambda entry: (_PRECEDENCE[entry.split], entry.name))
        together = [first]
        for entry in others:
            if keep_duplicates and entry.split in ("", first.split):
                together.append(entry)
                home[entry.path] = first.split
                continue
            dropped.add(entry.path)
            bad.append(_bad(entry, *_duplicate(entry, first, leak=keep_duplicates)))
        kept += [together] if len(together) > 1 else []
    good = [replace(entry, split=home.get(entry.path, entry.split)) for entry in good if entry.path not in dropped]
    return _one_group(good, kept), bad


def _duplicate(entry: Entry, first: Entry, *, leak: bool) -> tuple[str, str]:
    reason = f"the same bytes as {first.name}"
    facts = [f"in {first.split}"] if leak else []
    wrong = ""
    if set(entry.labels) != set(first.labels):
        facts.append(_words(first))
        wrong = f", while this one is {_words(entry)}; one is wrong"
    if facts:
        reason += f", which is {' and is '.join(facts)}{wrong}"
    kind = "duplicate in another split" if leak else "duplicate with another label" if wrong else "duplicate"
    return kind, reason


def _one_group(entries: Sequence[Entry], twins: Sequence[Sequence[Entry]]) -> list[Entry]:
    """Return the entries with groups that hold every set of twins together, and the groups they had."""
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    def node_of(entry: Entry) -> str:
        # A group's name and a video's cannot meet.
        return f"group {entry.group}" if entry.group else f"video {entry.name}"

    for same in twins:
        roots = sorted(find(node_of(entry)) for entry in same)
        for root in roots[1:]:
            parent[root] = roots[0]
    return [replace(entry, group=find(node_of(entry))) if node_of(entry) in parent else entry for entry in entries]


def _bad(entry: Entry, kind: str, reason: str) -> Bad:
    return Bad(entry.path, kind, f"{reason} ({entry.where})" if entry.where else reason)


def _words(entry: Entry) -> str:
    return " and ".join(map(repr, entry.labels)) or "without a label"
