from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import simplejson

from tools import demo
from uniformer_video.config import load_config
from uniformer_video.datasets import shapes
from uniformer_video.datasets.shapes import CLASSES
from uniformer_video.engine import contact_sheet as sheets

CONFIG = Path(demo.ROOT) / "configs" / "Demo" / "shapes.yaml"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict:
    """Replace the three costly steps by notes of what they were asked for."""
    asked: dict = {"top1": 97.5, "code": 0}

    def write(folder: str, *, videos_per_class: dict) -> None:
        asked.update(folder=folder, counts=videos_per_class)

    def run(command: list[str], check: bool) -> SimpleNamespace:
        asked["command"] = command
        return SimpleNamespace(returncode=asked["code"])

    def draw(cfg: object) -> Path:
        asked["output"] = cfg.OUTPUT_DIR
        (tmp_path / "summary.json").write_text(simplejson.dumps({"top1": asked["top1"], "videos": 200, "views": 12}))
        return tmp_path / "contact_sheet.png"

    monkeypatch.setattr(shapes, "write_shapes_dataset", write)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sheets, "contact_sheet", draw)
    return asked


def test_runs_the_main_job_with_the_demo_configuration(
    steps: dict, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert demo.main(["--out", "runs/x", "--data", "data/x", "RNG_SEED", "1"]) == 0
    assert steps["folder"] == "data/x"
    assert steps["counts"] == {"train": 80, "val": 10, "test": 20}
    assert steps["command"][1:] == [
        *(str(demo.ROOT / "tools" / "run_net.py"), "--cfg", str(CONFIG)),
        *("DATA.PATH_TO_DATA_DIR", "data/x", "OUTPUT_DIR", "runs/x", "RNG_SEED", "1"),
    ]
    assert steps["output"] == "runs/x"
    out = capsys.readouterr().out
    assert "top-1 97.50 % on 200 test videos x 12 views" in out
    for path in ("runs/x/curves.png", str(tmp_path / "predictions.csv"), str(tmp_path / "contact_sheet.png")):
        assert path in out


def test_below_the_goal_it_fails(steps: dict, capsys: pytest.CaptureFixture) -> None:
    steps["top1"] = 94.99
    assert demo.main([]) == 1
    assert "error: top-1 94.99 % is below the 95 % this demonstration should reach" in capsys.readouterr().err


def test_the_code_of_a_failed_run_is_passed_on(steps: dict) -> None:
    steps["code"] = 2
    assert demo.main([]) == 2
    assert "output" not in steps


def test_configuration_fits_the_generated_set() -> None:
    cfg = load_config(CONFIG)
    assert len(CLASSES) == cfg.MODEL.NUM_CLASSES >= 8
    # A mirrored video would belong to another class.
    assert cfg.DATA.RANDOM_FLIP is False
    assert (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS) == (4, 3)
    assert cfg.NUM_GPUS == -1
