"""The job: from what a user has to a set that can be trained on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from uniformer_video.prepare.classes import class_warnings, number_labels, order_classes
from uniformer_video.prepare.prepared import Bad, PreparedSet, Video
from uniformer_video.prepare.probe_all import CACHE_FILE, ProbeCache, probe_all
from uniformer_video.prepare.sheet import draw_sheet
from uniformer_video.prepare.sieve import sift_entries, sift_probes
from uniformer_video.prepare.source_lists import ListOptions, read_source
from uniformer_video.prepare.sources import SPLITS, Entry, Source, count_of, with_groups
from uniformer_video.prepare.splits import Item, complete_splits
from uniformer_video.prepare.summary import bad_lines, class_table, next_command
from uniformer_video.prepare.transcode_all import Job, target_names, transcode_all
from uniformer_video.prepare.write import BAD_FILE, SHEET_FILE, VIDEO_FOLDER, claim_folder, write_set
from uniformer_video.runtime.errors import DataError
from uniformer_video.video.probe import Probe
from uniformer_video.video.transcode import TranscodeSettings

Say = Callable[[str], None]


@dataclass(frozen=True)
class PrepareOptions:
    """What a user asks for.

    Args:
        source: folder or list.
        out: folder of the set.
        lists: how lists are read.
        group_pattern: regular expression that finds the group in a video's relative path; empty: none.
        fractions: of train, val and test; sum 1.
        seed: of the splits, >= 0.
        label_order: one of ``classes.ORDERS``.
        min_frames: shorter videos are bad.
        min_seconds: shorter videos are bad.
        keep_duplicates: keep files with the same bytes.
        fast: read headers only.
        image_template: names of the pictures of videos that are folders.
        transcode: rewrite the videos so; None: leave them.
        workers: processes; 0: this one.
        timeout_seconds: that one video may take to be read; 0: no limit.
        overwrite: take a folder that holds other things.
        command: the command line, for ``dataset.json``.
    """

    source: str
    out: str
    lists: ListOptions = field(default_factory=ListOptions)
    group_pattern: str = ""
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0
    label_order: str = "alphabetical"
    min_frames: int = 0
    min_seconds: float = 0.0
    keep_duplicates: bool = False
    fast: bool = False
    image_template: str = ""
    transcode: TranscodeSettings | None = None
    workers: int = 1
    timeout_seconds: float = 0.0
    overwrite: bool = False
    command: Sequence[str] = ()

    def notable(self) -> dict[str, Any]:
        """Return what decides about the content of the set, for ``dataset.json``."""
        content = asdict(self)
        for name in ("source", "out", "workers", "overwrite", "command"):
            del content[name]
        return {**content, "fractions": dict(zip(SPLITS, self.fractions, strict=True))}


def prepare_dataset(options: PrepareOptions, say: Say = print) -> dict[str, Any]:
    """Make a set and return the content of its ``dataset.json``.

    An interrupted run remembers what it has seen: the same call goes on from there.

    Args:
        options: what is asked for.
        say: is given lines for the user.

    Raises:
        UserError: options or a folder that cannot be.
        DataError: a source that cannot be read, has no usable video, a single class, or nothing to train on.
    """
    source = read_source(
        options.source, options.lists, image_template=options.image_template, leave_out=Path(options.out)
    )
    source = _grouped(source, options.group_pattern, say)
    for note in source.notes:
        say(note)
    folder = claim_folder(options.out, os.path.abspath(options.source), overwrite=options.overwrite)
    say(f"{count_of(len(source.entries), 'video')} in {options.source}")
    with ProbeCache(folder / CACHE_FILE) as cache:
        good, probes, bad = _look(source, options, cache)
        _check_some(source, good, bad)
        paths = {entry.path: entry.path for entry in good}
        if options.transcode:
            good, probes, paths, lost = _transcode(source, good, folder, options, cache)
            bad += lost
            _check_some(source, good, bad)
    names, warnings = order_classes(source, good, options.label_order)
    _check_classes(names, source)
    splits, notes = _split(good, bad, options)
    for note in notes:
        say(note)
    numbers = number_labels(source, names)
    videos = [
        Video(
            entry.name,
            paths[entry.path],
            tuple(sorted(numbers[label] for label in entry.labels)),
            splits[entry.name],
            probes[entry.path],
        )
        for entry in good
    ]
    prepared = PreparedSet(
        videos=videos,
        class_names=names,
        multi_label=source.multi_label,
        bad=sorted(bad, key=lambda video: (video.path, video.reason)),
        source=os.path.abspath(options.source),
        root=source.root,
        command=options.command,
        options=options.notable(),
    )
    warnings += class_warnings(prepared) + _empty_splits(prepared, options)
    title = f"{folder.name}: {len(videos)} videos of {len(names)} classes"
    sheet = draw_sheet(prepared, title=title, image_template=options.image_template, workers=options.workers)
    content = write_set(folder, prepared, sheet)
    _summarise(prepared, options, warnings, say)
    return content


def _grouped(source: Source, pattern: str, say: Say) -> Source:
    if not pattern:
        return source
    entries, alone = with_groups(source.entries, pattern)
    groups = {entry.group for entry in entries} - {""}
    rest = f"; {count_of(alone, 'video')} without a match, alone" if alone else ""
    if not groups:
        raise DataError(
            f"--group-pattern {pattern!r} matches none of the {len(entries)} paths, such as {entries[0].name}; "
            "write a regular expression that finds the group in such a path"
        )
    say(f"{count_of(len(groups), 'group')} by --group-pattern, such as {min(groups)!r}{rest}")
    return replace(source, entries=entries)


def _look(
    source: Source, options: PrepareOptions, cache: ProbeCache
) -> tuple[list[Entry], dict[str, Probe], list[Bad]]:
    entries, bad = sift_entries(source.entries, multi_label=source.multi_label)
    probes = probe_all(
        [entry.path for entry in entries],
        full=not options.fast,
        timeout_seconds=options.timeout_seconds,
        image_template=options.image_template,
        workers=options.workers,
        cache=cache,
    )
    good, faulty = sift_probes(
        entries,
        probes,
        min_frames=options.min_frames,
        min_seconds=options.min_seconds,
        keep_duplicates=options.keep_duplicates,
    )
    return good, probes, bad + faulty


def _check_some(source: Source, good: Sequence[Entry], bad: Sequence[Bad]) -> None:
    if good:
        return
    kind = Counter(video.kind for video in bad).most_common(1)[0][0]
    hint = "; if their paths begin in another folder, name it with --videos" if kind == "missing" else ""
    raise DataError(f"none of the {count_of(len(source.entries), 'video')} can be used{_why(bad)}{hint}")


def _why(bad: Sequence[Bad]) -> str:
    """Return how many videos are left out for which kind of reason, with an example; empty for none."""
    if not bad:
        return ""
    kinds = Counter(video.kind for video in bad).most_common()
    told = ", ".join(f"{count} {kind}" for kind, count in kinds)
    example = next(video for video in bad if video.kind == kinds[0][0])
    return f" ({told}), for example {example.path}: {example.reason}"


def _check_classes(names: Sequence[str], source: Source) -> None:
    least = 1 if source.multi_label else 2
    if len(names) < least:
        there = f"only the class {names[0]!r}" if names else "no class"
        raise DataError(f"{there} has usable videos, and at least {least} are needed; add videos of another class")


def _transcode(
    source: Source, good: Sequence[Entry], folder: Path, options: PrepareOptions, cache: ProbeCache
) -> tuple[list[Entry], dict[str, Probe], dict[str, str], list[Bad]]:
    assert options.transcode is not None
    videos = folder / VIDEO_FOLDER
    if any(Path(entry.path).is_relative_to(videos) for entry in good):
        raise DataError(f"--transcode would write into {videos}, which holds the originals; give another --out")
    targets = target_names([("" if source.multi_label else entry.labels[0], entry.name) for entry in good])
    paths = {entry.path: str(videos / target) for entry, target in zip(good, targets, strict=True)}
    failures = transcode_all(
        [Job(entry.path, paths[entry.path]) for entry in good],
        options.transcode,
        workers=options.workers,
        timeout_seconds=10 * options.timeout_seconds,  # writing takes longer than reading
    )
    seen = probe_all(
        [path for path in paths.values() if path not in failures],
        full=not options.fast,
        timeout_seconds=options.timeout_seconds,
        workers=options.workers,
        cache=cache,
        label="probing the new videos",
    )
    done, bad = [], []
    for entry in good:
        path = paths[entry.path]
        failure = failures.get(path) or seen[path].reason
        if failure:
            bad.append(Bad(entry.path, "not transcoded", f"cannot be transcoded: {failure}"))
        else:
            done.append(entry)
    return done, {entry.path: seen[paths[entry.path]] for entry in done}, paths, bad


def _split(good: Sequence[Entry], bad: Sequence[Bad], options: PrepareOptions) -> tuple[dict[str, str], list[str]]:
    items = [Item(entry.name, entry.labels, entry.group) for entry in good]
    given = {entry.name: entry.split for entry in good if entry.split}
    fractions: Mapping[str, float] = dict(zip(SPLITS, options.fractions, strict=True))
    splits, notes = complete_splits(items, given, fractions, options.seed)
    if "train" not in splits.values():
        raise DataError(
            f"{options.source}: no usable video is in train{_why(bad)}; give train others, or a source without splits"
        )
    return splits, notes


def _empty_splits(prepared: PreparedSet, options: PrepareOptions) -> list[str]:
    advice = {"val": "training needs it: add videos", "test": "add videos, or set TEST.ENABLE False"}
    why = {True: "there are too few videos", False: "--split gives it nothing"}
    return [
        f"no {split}.csv: {why[fraction > 0]}; {advice[split]}"
        for split, fraction in zip(SPLITS[1:], options.fractions[1:], strict=True)
        if not prepared.of_split(split)
    ]


def _summarise(prepared: PreparedSet, options: PrepareOptions, warnings: Sequence[str], say: Say) -> None:
    say("")
    for line in class_table(prepared):
        say(line)
    say("")
    if prepared.bad:
        say(f"{len(prepared.bad)} left out ({os.path.join(options.out, BAD_FILE)}):")
        for line in bad_lines(prepared.bad):
            say(line)
    for warning in warnings:
        say(f"warning: {warning}")
    say(f"the set: {options.out}, to look at: {os.path.join(options.out, SHEET_FILE)}")
    say(f"next: {next_command(options.out)}")
