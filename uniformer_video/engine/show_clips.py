"""A picture of what the network really sees: training clips after every augmentation, or the views of a test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fvcore.common.config import CfgNode

from uniformer_video.datasets import VideoDataset, build_dataset
from uniformer_video.datasets.batches import TrainBatches, collate
from uniformer_video.datasets.dataset import Sample
from uniformer_video.datasets.loader import BatchLoader
from uniformer_video.drawing.clip_sheet import TALLEST, ClipCard, ClipStrip, draw_clip_sheet, sheet_size
from uniformer_video.drawing.style import class_name
from uniformer_video.engine import setup
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.runtime.errors import DataError, UserError
from uniformer_video.runtime.logging import progress
from uniformer_video.transforms.clip import denormalize
from uniformer_video.video.reader import DecodeError

CPU = torch.device("cpu")
# Classes of a mixed target that are worth a line: two labels, and what smoothing gives to few classes.
_LINES, _LEAST_WEIGHT = 4, 0.02

Item = tuple[int, ...]


@dataclass(frozen=True)
class Seen:
    """One record as the network sees it.

    Args:
        sample: from the dataset.
        pixels: uint8 ``(clips, 3, T, S, S)``; None where nothing could be read.
        targets: of each clip in training: float32 ``(clips, K)`` or int64 ``(clips,)``; None elsewhere.
    """

    sample: Sample
    pixels: torch.Tensor | None
    targets: torch.Tensor | None = None


def show_clips(
    cfg: CfgNode,
    split: str,
    path: Path,
    *,
    count: int = 4,
    numbers: Sequence[int] = (),
    epoch: int = 0,
    most_frames: int | None = None,
) -> list[str]:
    """Draw the clips of some records as the network sees them.

    Training clips are those of the first step of the epoch (of the first process), in the order of a real run: after
    augmentation, erasing and mixing, with the weights of their labels. Noise of erasing is that of a CPU.

    Args:
        cfg: the configuration, without ``auto`` (``resolve_data_settings``).
        split: ``train``, ``val`` or ``test``.
        path: the PNG, replaced whole; its folder must exist.
        count: records of the first step, or of the beginning of the list, where ``numbers`` is empty.
        numbers: records by their numbers in the list; in training each as the step that has it makes it.
        epoch: of the training, from 0.
        most_frames: most frames drawn of a clip; None: 16, or 8 where a record has more than four clips.

    Returns:
        A line for each record.

    Raises:
        UserError: a dataset that cannot be used, a record that there is not, or too large a picture.
    """
    dataset = build_dataset(cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET, cfg, split)
    outside = [number for number in numbers if not 0 <= number < len(dataset)]
    if outside:
        raise DataError(f"there is no record {outside[0]}: the {split} list has records 0 to {len(dataset) - 1}")
    if split == "train":
        seen = _training(cfg, dataset, count, numbers, epoch)
        title = f"training: what the network sees in epoch {epoch + 1}" + ("" if numbers else ", step 1")
    else:
        chosen = [(0, number) for number in numbers or range(min(count, len(dataset)))]
        loader = setup.ordered_loader(cfg, dataset, 1, CPU)
        seen = [Seen(sample, sample.clips) for sample in _read(loader, chosen)]
        title = f"{'test' if split == 'test' else 'validation'}: what the network sees"
    most = most_frames or (16 if dataset.clips_per_record <= 4 else 8)
    drawn = [_card(cfg, dataset, one, split) for one in seen]
    cards = [card for card, _ in drawn]
    height = sheet_size(cards, most)[1]
    if height > TALLEST:
        raise UserError(
            f"a picture of {len(cards)} records would be {height} pixels high, at most {TALLEST} are drawn; "
            "choose fewer records (--records) or frames of a clip (--frames)"
        )
    side = cfg.DATA.TRAIN_CROP_SIZE if split == "train" else cfg.DATA.TEST_CROP_SIZE
    note = f"clips of {cfg.DATA.NUM_FRAMES} frames, {side} x {side}; below a frame: its number and time in the video"
    if split == "train":
        note += "; beside a clip: the weights of its classes"
    draw_clip_sheet(cards, path, title=title, note=note, most_frames=most)
    return [line for _, line in drawn]


def _training(cfg: CfgNode, dataset: VideoDataset, count: int, numbers: Sequence[int], epoch: int) -> list[Seen]:
    loader = setup.train_loader(cfg, dataset, CPU)
    inputs = DeviceInputs.from_config(cfg)
    batches = _all_batches(cfg, loader.batch_sampler, epoch)
    if not numbers:
        items = next(batches)
        return _see_batch(loader, inputs, items, range(min(count, len(items))))
    found: dict[int, Seen] = {}
    for items in batches:
        records = [item[1] for item in items]
        places = [records.index(number) for number in dict.fromkeys(numbers) if number in records]
        places = [place for place in places if records[place] not in found]
        if places:
            made = _see_batch(loader, inputs, items, places)
            found.update((one.sample.record, one) for one in made)
        if len(found) == len(set(numbers)):
            return [found[number] for number in numbers]
    missing = next(number for number in numbers if number not in found)
    raise DataError(f"epoch {epoch + 1} leaves record {missing} out, as each epoch does some; choose another --epoch")


def _all_batches(cfg: CfgNode, batches: TrainBatches, epoch: int) -> Iterator[list[Item]]:
    """Yield what each process of a run takes in a step: all steps of the first process, then those of the next."""
    gpus = torch.cuda.device_count() if cfg.NUM_GPUS < 0 else cfg.NUM_GPUS
    world = max(gpus, 1) * cfg.NUM_SHARDS
    batches.epoch = epoch
    batches.world = world if batches.batch_size % world == 0 else 1
    for rank in range(batches.world):
        batches.rank = rank
        yield from batches


def _see_batch(loader: BatchLoader, inputs: DeviceInputs, items: Sequence[Item], places: Sequence[int]) -> list[Seen]:
    """Return the items at ``places`` of a batch as the training makes them."""
    if inputs.mixup is None:
        # Clips know nothing of each other: the rest of the batch need not be read.
        items, places = [items[place] for place in places], range(len(places))
    samples = _read(loader, items)
    batch = collate(samples)
    sizes = [0 if sample.clips is None else len(sample.clips) for sample in samples]
    ends = np.cumsum(sizes).tolist()
    ranges = [range(ends[place] - sizes[place], ends[place]) for place in places]
    wanted = {clip for clips in ranges for clip in clips}
    if not wanted:
        return [Seen(samples[place], None) for place in places]
    # Of a batch that is mixed, each clip needs its partner (the one as far from the end as it is from the start), and
    # the first clip, by whose place the mixing is drawn. All of a large batch in float32 would take gigabytes.
    last = ends[-1] - 1
    kept = sorted({clip for near in wanted | ({0} if inputs.mixup else set()) for clip in (near, last - near)})
    clips, targets = inputs.train(batch.select(torch.tensor(kept)), CPU)
    row = {clip: number for number, clip in enumerate(kept)}
    result = []
    for place, mine in zip(places, ranges, strict=True):
        rows = [row[clip] for clip in mine]
        pixels = denormalize(clips[rows], inputs.mean, inputs.std) if rows else None
        result.append(Seen(samples[place], pixels, targets[rows] if rows else None))
    return result


def _read(like: BatchLoader, items: Sequence[Item]) -> list[Sample]:
    """Return the samples of ``items``, read by as many processes as a loader of a run has."""
    loader = BatchLoader(
        like.dataset,
        [[item] for item in items],
        num_workers=min(like.num_workers, len(items)) if len(items) > 1 else 0,
        pin_memory=False,
        collate=_the_only_one,
    )
    samples = list(progress(loader, total=len(items), label="reading videos", unit="video"))
    loader.close()
    return samples


def _the_only_one(samples: Sequence[Sample]) -> Sample:
    return samples[0]


def _card(cfg: CfgNode, dataset: VideoDataset, seen: Seen, split: str) -> tuple[ClipCard, str]:
    """Return the card of a record and its line for the console."""
    sample, names = seen.sample, dataset.class_names or []
    record = dataset.records[sample.source]
    title = _class_text(record.labels, names)
    again = f", turn {sample.turn + 1} in this epoch" if sample.turn else ""
    head = f"record {sample.record}{again}"
    if seen.pixels is None:
        trouble = f"cannot be read: {sample.failures[0].cause}"
        return ClipCard(title, f"{head}: {record.path}", warning=trouble), f"{head}: {record.path} {trouble}"
    warning = ""
    if sample.failures:
        causes = "; ".join(dict.fromkeys(failure.reason for failure in sample.failures))
        warning = f"record {sample.source} stands in, for this cannot be read: {causes}"
    wide, facts, indices, seconds = _look_up(dataset, sample)
    strips = []
    for clip, pixels in enumerate(seen.pixels):
        what, where = _clip_text(cfg, clip, len(seen.pixels), split, wide)
        strip = ClipStrip(
            frames=pixels.permute(1, 2, 3, 0).numpy(),
            indices=indices[clip].tolist(),
            seconds=None if seconds is None else seconds[clip].tolist(),
            title=what,
            lines=where if seen.targets is None else _target_lines(seen.targets[clip], names),
            mirrored=sample.mirrored[clip],
            joined=split == "test" and clip % cfg.TEST.NUM_SPATIAL_CROPS > 0,
        )
        strips.append(strip)
    card = ClipCard(title, f"{head}: {record.path}{facts}", strips, warning)
    span = f"frames {indices.min()} to {indices.max()}"
    if seconds is not None:
        span += f" ({seconds.min():.2f} to {seconds.max():.2f} s)"
    mirrored = f", {sum(sample.mirrored)} mirrored" if any(sample.mirrored) else ""
    line = f"{head}: {title}, {record.path}, {span}, {len(strips)} clip{'s' * (len(strips) > 1)}{mirrored}"
    return card, line + (f"; {warning}" if warning else "")


def _look_up(dataset: VideoDataset, sample: Sample) -> tuple[bool, str, np.ndarray, np.ndarray | None]:
    """Return of a sample's video whether it is wide, facts, and the numbers and times of its frames, ``(clips, T)``."""
    try:
        with dataset.opener(dataset.records[sample.source].path) as reader:
            height, width = reader.size
            seconds = reader.seconds[sample.indices]
            # A video seen at another rate (DATA.TARGET_FPS) knows which of its own frames it shows.
            own = getattr(reader, "source_indices", None)
            seen_as = "seen as " if own else ""
            length = f"{reader.num_frames} frame{'s' * (reader.num_frames > 1)}"
            facts = f"  ({width} x {height}, {seen_as}{length}, {reader.fps:.4g} frames / s)"
            shape = sample.indices.shape
            indices = own(sample.indices.ravel()).reshape(shape) if own else sample.indices
            return width >= height, facts, indices, seconds
    except DecodeError:  # it could be read a moment ago
        return True, "", sample.indices, None


def _clip_text(cfg: CfgNode, clip: int, clips: int, split: str, wide: bool) -> tuple[str, tuple[str, ...]]:
    """Return what a clip is, and of a view, in a line of its own, where it is cut."""
    if split == "train":
        return f"repeat {clip + 1} of {clips}" if clips > 1 else "clip", ()
    if clips == 1:
        return "centre", ()
    crops = cfg.TEST.NUM_SPATIAL_CROPS
    number, crop = divmod(clip, crops)
    sides = ("left", "middle", "right") if wide else ("top", "middle", "bottom")
    side = f": {sides[crop]}" if crops == len(sides) else ""
    return f"clip {number + 1} of {clips // crops}", (f"crop {crop + 1} of {crops}{side}",)


def _class_text(labels: Sequence[int], names: Sequence[str]) -> str:
    return ", ".join(class_name(label, names) for label in labels) or "no label"


def _target_lines(target: torch.Tensor, names: Sequence[str]) -> list[str]:
    """Return the classes of a clip's target with their weights, the heaviest first."""
    if not target.is_floating_point():
        return [class_name(int(target), names)]
    weights, classes = target.sort(descending=True, stable=True)
    shown = int((weights >= _LEAST_WEIGHT).sum())
    pairs = zip(weights[: min(shown, _LINES)].tolist(), classes.tolist(), strict=False)
    lines = [f"{weight:.2f}  {class_name(number, names)}" for weight, number in pairs]
    return lines + [f"and {shown - _LINES} more"] * (shown > _LINES) or ["no label"]
