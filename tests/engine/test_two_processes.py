"""Two processes of one run: what one of them cannot read, and what fine-tuning asks for."""

from __future__ import annotations

import re

import numpy as np
import pytest
import simplejson

from tests.engine.test_launch import run_two
from tests.engine.training import SEVERAL
from tests.helpers import write_text
from tests.toy import entries, rewrite
from uniformer_video.engine.checkpoint import newest_checkpoint, read_checkpoint
from uniformer_video.runtime.cli import EXIT_USER_ERROR


def test_they_stop_together_where_too_much_is_broken(toy_set, tmp_path):
    # Steps of two videos, one of each process: what is broken comes to one of them alone, now and then.
    broken = [f"{write_text(tmp_path / f'b{n}.mp4')} 1" for n in range(2)]
    data = rewrite(toy_set, tmp_path / "set", train=[*broken, *entries(toy_set, "train")])
    options = ("TRAIN.BATCH_SIZE", 1, "DATA.MAX_BAD_FRACTION", 0.1, "TEST.ENABLE", False, "SOLVER.MAX_EPOCH", 3)
    codes, texts = run_two(data, tmp_path / "out", *options, timeout=60)
    assert codes == [EXIT_USER_ERROR] * 2, texts
    for _, errors in texts:  # each machine says why
        assert re.search(
            r"2 of the 14 videos of the training list cannot be read, more than DATA.MAX_BAD_FRACTION 0.1 allows, for "
            r"example \S+/b0.mp4: .+; \S+/b1.mp4: .+ \(all in \S+/unreadable.csv\); mend the videos",
            errors,
        ), errors
        assert "Traceback" not in errors
    rows = (tmp_path / "out" / "unreadable.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3


def test_they_fine_tune_a_frozen_network_on_several_labels(toy_set, tmp_path):
    def several(split):
        places = (line.rsplit(" ", 1) for line in entries(toy_set, split))
        return [f"{path} {','.join(map(str, SEVERAL[int(label)]))}" for path, label in places]

    data = rewrite(toy_set, tmp_path / "set", **{split: several(split) for split in ("train", "val", "test")})
    options = (
        *("DATA.MULTI_LABEL", True, "MODEL.LOSS_FUNC", "auto", "MODEL.NUM_CLASSES", "auto", "MODEL.FREEZE", 1),
        *("SOLVER.LAYER_DECAY", 0.8, "MODEL.CLASS_WEIGHTS", "balanced", "BN.USE_PRECISE_STATS", True),
        *("SOLVER.MAX_EPOCH", 8, "TRAIN.EARLY_STOP_PATIENCE", 1, "TEST.TEST_BEST", True, "TRAIN.BATCH_SIZE", 2),
    )
    codes, texts = run_two(data, tmp_path / "out", *options, timeout=120)
    assert codes == [0, 0], texts
    console = texts[0][0]
    assert "class weights from 0.667 (red, 8 training videos) to 1.33 (green, 4)" in console
    assert re.search(r"frozen: [\d,]+ of [\d,]+ parameters \(stem and stage 1\)", console)
    checkpoint = read_checkpoint(newest_checkpoint(tmp_path / "out"))
    assert "LOSS_FUNC: bce_logit" in checkpoint.cfg and "NUM_CLASSES: 3" in checkpoint.cfg
    maps = [entry["val_map"] for entry in checkpoint.history]
    best = checkpoint.best["epoch"]
    assert maps[best - 1] == max(maps) and (len(maps) == best + 1 or len(maps) == 8)
    if len(maps) < 8:
        assert f"stopped after epoch {len(maps)} of 8: no better mAP since epoch {best} " in console
    summary = simplejson.loads((tmp_path / "out" / "test" / "summary.json").read_text())
    assert summary["weights"].endswith("checkpoint_best.pyth") and summary["videos"] == 6
    assert summary["map"] == pytest.approx(np.mean([entry["average_precision"] for entry in summary["per_class"]]))
    assert summary["map"] > 60
