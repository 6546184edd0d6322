"""Against the real videos and golden values that lie beside the project, where they do: `make test-reference`.

Set UNIFORMER_REFERENCE to the folder that holds ``videos/`` and ``reference/``; without it these tests are skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fill import fill
from uniformer_video.config import load_config
from uniformer_video.datasets import build_dataset
from uniformer_video.engine.launch import run
from uniformer_video.models.uniformer import uniformer_small

REFERENCE = os.environ.get("UNIFORMER_REFERENCE", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REFERENCE, reason="UNIFORMER_REFERENCE does not name a folder"),
]

# The order of the golden arrays.
VIDEOS = ("uniformer__Tw2yXa6CzWE.mp4", "mmaction2__test.mp4", "mmaction2__demo.mp4", "mmaction2__test.avi")
CONFIGS = Path(__file__).parents[1] / "configs" / "Kinetics"


@pytest.fixture
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(Path(REFERENCE) / "reference" / "golden_views.npz"))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    lines = [f"{Path(REFERENCE).resolve() / 'videos' / name} {label}\n" for label, name in enumerate(VIDEOS)]
    (tmp_path / "test.csv").write_text("".join(lines))
    return tmp_path


def _settings(data_dir: Path, backend: str) -> list[str]:
    return [
        *("DATA.PATH_TO_DATA_DIR", str(data_dir), "OUTPUT_DIR", str(data_dir / "run"), "NUM_GPUS", "0"),
        *("TRAIN.ENABLE", "False", "DATA.DECODING_BACKEND", backend, "TEST.BATCH_SIZE", "4"),
    ]


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize(("recipe", "tag", "clips"), [("s8x8", "8x8_4x1", 4), ("s16x4", "16x4_1x1", 1)])
def test_views(golden: dict, data_dir: Path, backend: str, recipe: str, tag: str, clips: int) -> None:
    settings = [*_settings(data_dir, backend), "TEST.NUM_ENSEMBLE_VIEWS", str(clips)]
    dataset = build_dataset("kinetics", load_config(CONFIGS / f"uniformer_{recipe}.yaml", settings), "test")
    views = torch.cat([dataset[number].clips for number in range(len(dataset))])
    pooled = torch.nn.functional.adaptive_avg_pool2d(views.float().flatten(0, 1), 7).view(*views.shape[:3], 7, 7)
    expected = (golden[tag] * 0.225 + 0.45) * 255
    assert pooled.shape == expected.shape
    assert np.abs(pooled.numpy() - expected).max() < 1.5


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_ensemble_through_run(golden: dict, data_dir: Path, backend: str) -> None:
    model = uniformer_small(local_kernel=(5, 5, 5))
    torch.save({"model": fill(model.state_dict())}, data_dir / "small.pth")
    settings = [*_settings(data_dir, backend), "TEST.CHECKPOINT_FILE_PATH", str(data_dir / "small.pth")]
    assert run(load_config(CONFIGS / "uniformer_s8x8.yaml", settings)) == 0
    expected = golden["ensemble_small_8x8_4x1"]
    with np.load(data_dir / "run" / "test" / "predictions.npz") as results:
        difference = np.abs(results["scores"] - expected).max()
        assert [Path(p).name for p in results["paths"]] == list(VIDEOS)
    assert difference < 0.01 * expected.std()
