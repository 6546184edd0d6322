"""What tests of prediction share: a network with random weights in a file, small enough to score at once."""

from __future__ import annotations

from pathlib import Path

from tests.toy import CLASSES, toy_cfg
from uniformer_video.config import dump
from uniformer_video.engine import setup
from uniformer_video.engine.device import process_device
from uniformer_video.models.export import write_weights


def write_network(toy_set: Path, path: Path, *overrides: str, names: tuple[str, ...] | None = CLASSES) -> Path:
    """Write the toy network with weights drawn from its seed, its head strong enough that scores differ."""
    cfg = toy_cfg(toy_set, path.parent / "out", *overrides)
    model = setup.new_model(cfg, process_device(0))
    state = {name: 30 * tensor if name == "head.weight" else tensor for name, tensor in model.state_dict().items()}
    write_weights(state, path, class_names=names, config_yaml=dump(cfg))
    return path


def test_videos(toy_set: Path) -> list[str]:
    """Return the paths of the toy set's test list, in its order."""
    return [str(toy_set / line.rsplit(" ", 1)[0]) for line in (toy_set / "test.csv").read_text().splitlines()]


test_videos.__test__ = False
