"""A picture of what a test decided: frames of test videos with their true and predicted classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from fvcore.common.config import CfgNode

from uniformer_video.datasets.class_names import find_class_names
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.drawing.contact_sheet import ContactRow, draw_contact_sheet
from uniformer_video.engine.results import FOLDER, confidences, read_predictions
from uniformer_video.runtime.errors import DataError
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import DecodeError

FRAMES = 4


def choose_videos(labels: np.ndarray, predictions: np.ndarray, limit: int) -> list[int]:
    """Return the numbers of at most ``limit`` videos to look at: wrong ones first, then in turn from every class.

    Args:
        labels: int ``(N,)`` true classes.
        predictions: int ``(N,)``.
        limit: most videos; at most half of them are wrong ones where right ones could fill the rest.
    """
    wrong = np.flatnonzero(labels != predictions).tolist()
    right = np.flatnonzero(labels == predictions).tolist()
    shown_wrong = wrong[: max(limit // 2, limit - len(right))]
    seen: dict[int, int] = {}
    turns = []
    for number in right:
        turn = seen.get(int(labels[number]), 0)
        seen[int(labels[number])] = turn + 1
        turns.append((turn, int(labels[number]), number))
    return (shown_wrong + [number for _, _, number in sorted(turns)])[:limit]


def contact_sheet(cfg: CfgNode, *, videos: int = 30, columns: int = 3) -> Path:
    """Draw ``OUTPUT_DIR/test/contact_sheet.png`` from the predictions of a finished test.

    Args:
        cfg: the configuration of the test.
        videos: most videos on the sheet.
        columns: videos side by side.

    Returns:
        The path of the PNG.

    Raises:
        DataError: there is no sound ``predictions.npz`` in OUTPUT_DIR/test, it is of a multi-label set, or a video of
            it cannot be read any more.
    """
    folder = Path(cfg.OUTPUT_DIR) / FOLDER
    source = folder / "predictions.npz"
    if not source.is_file():
        raise DataError(f"{source}: no such file; run the test first (TEST.ENABLE True)")
    results = read_predictions(source)
    scores, labels, paths = results.scores, results.labels, results.paths
    names = results.class_names  # as the test had them: the data may lie elsewhere now
    if labels.ndim > 1:
        raise DataError(f"{source}: its videos have several labels each; the sheet is for sets with one")
    views = cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS
    shares = confidences(
        torch.from_numpy(scores), views=views, method=cfg.TEST.ENSEMBLE_METHOD, score=cfg.TEST.ENSEMBLE_SCORE
    ).numpy()
    predictions = scores.argmax(axis=1) if len(scores) else np.empty(0, dtype=np.int64)
    rows = []
    for number in choose_videos(labels, predictions, videos):
        try:
            with open_video(paths[number], backend=cfg.DATA.DECODING_BACKEND) as reader:
                indices = np.linspace(0, reader.num_frames - 1, FRAMES).round().astype(int)
                frames = reader.frames_at(indices.tolist()).numpy()
        except DecodeError as error:
            raise DataError(f"{error}; the sheet shows the tested videos, from the folder the test ran in") from None
        prediction = int(predictions[number])
        share = float(shares[number, prediction])
        rows.append(ContactRow(frames, int(labels[number]), prediction, share, paths[number]))
    if not names:
        records = [VideoRecord(path, int(label)) for path, label in zip(paths, labels, strict=True)]
        data, label_set = Path(cfg.DATA.PATH_TO_DATA_DIR), cfg.DATA.LABEL_SET
        names = find_class_names(data, records, cfg.MODEL.NUM_CLASSES, label_set_name=label_set) or []
    path = folder / "contact_sheet.png"
    draw_contact_sheet(rows, path, names, columns)
    return path
