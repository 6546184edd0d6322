from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.toy import toy_cfg
from tools import contact_sheet
from uniformer_video.config import dump
from uniformer_video.engine.results import write_predictions


def test_draws_a_run_that_was_moved(toy_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = tmp_path / "moved"
    paths = [str(p) for p in sorted((toy_set / "videos").glob("test *.mp4"))][:3]
    scores = torch.eye(3)
    write_predictions(run / "test", scores=scores, shares=scores, labels=[0, 1, 2], paths=paths, class_names=None)
    (run / "config.yaml").write_text(dump(toy_cfg(toy_set, tmp_path / "elsewhere")))
    assert contact_sheet.main([str(run), "--videos", "3"]) == 0
    assert capsys.readouterr().out.strip() == str(run / "test" / "contact_sheet.png")
    assert (run / "test" / "contact_sheet.png").read_bytes()[:4] == b"\x89PNG"


def test_a_video_that_is_gone_is_one_line(toy_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    gone, scores = str(tmp_path / "gone.mp4"), torch.eye(3)[:1]
    write_predictions(tmp_path / "test", scores=scores, shares=scores, labels=[0], paths=[gone], class_names=None)
    (tmp_path / "config.yaml").write_text(dump(toy_cfg(toy_set, tmp_path)))
    assert contact_sheet.main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {gone}: ") and error.count("\n") == 1
    assert error.endswith("; the sheet shows the tested videos, from the folder the test ran in\n")


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert contact_sheet.main([str(tmp_path)]) == 2
    message = f"error: {tmp_path} is no run: it has no config.yaml; give the OUTPUT_DIR of a run\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("option", ["--videos", "--columns"])
def test_numbers_below_one_are_refused(option: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        contact_sheet.main(["run", option, "0"])
    assert ended.value.code == 2
    assert "--videos and --columns are whole numbers >= 1" in capsys.readouterr().err
