"""The table says what was published: each row against the reference, and every name a recipe asks for."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from uniformer_video.datasets.label_sets import label_set
from uniformer_video.models.published import NETWORKS
from uniformer_video.models.zoo_table import ZOO

DATA = Path(__file__).parent.parent / "data"


def rows(name: str) -> list[dict[str, str]]:
    with open(DATA / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


WEIGHTS = rows("weights.csv")


@pytest.mark.parametrize("row", WEIGHTS, ids=lambda row: row["name"])
def test_a_published_row(row):
    entry = ZOO[row["name"]]
    assert entry.name == row["name"]
    assert entry.url == row["url"]
    assert (entry.sha256 or "") == row["sha256"]
    assert str(entry.bytes or "") == row["bytes"]
    assert entry.trained_on == row["trained_on"]
    assert entry.views_text == row["views"]
    assert (f"{entry.top1}" if entry.top1 else "") == row["top1"]
    frames = str(entry.frames) + (f"x{entry.stride}" if entry.stride else "")
    assert frames == row["frames_x_stride"]
    assert entry.frames_text == (frames if entry.sampling != "image" else "image")


def test_names_that_recipes_ask_for_are_there():
    asked = {row["UNIFORMER.PRETRAIN_NAME"] for row in rows("recipes.csv")} - {""}
    assert asked <= set(ZOO)


def test_those_without_an_address():
    unknown = {name for name, entry in ZOO.items() if entry.url is None}
    assert unknown == set(ZOO) - {row["name"] for row in WEIGHTS}
    assert unknown == {
        *("uniformer_xxs_128_in1k", "uniformer_xs_192_in1k", "uniformer_small_k400_16x4"),
        *("uniformer_small_k600_16x4", "uniformer_base_k600_16x4"),
    }


@pytest.mark.parametrize(
    ("name", "top1"),
    [("uniformer_small_k400_16x4", 80.8), ("uniformer_small_k600_16x4", 82.8), ("uniformer_base_k600_16x4", 84.0)],
)
def test_published_accuracy_of_those_without_an_address(name, top1):
    assert ZOO[name].top1 == top1


@pytest.mark.parametrize("entry", ZOO.values(), ids=list(ZOO))
class TestEveryRow:
    def test_its_network_is_a_published_one_of_its_name(self, entry):
        kwargs = NETWORKS[entry.network].kwargs
        assert bool(kwargs.get("image")) == (entry.sampling == "image") == (entry.trained_on == "ImageNet-1K")
        size = re.match(r"uniformer_(small_plus|small|base|xxs|xs)", entry.name)[1]
        assert re.match(rf"(image|video)_{size}(_\d+)?$", entry.network)

    def test_its_size_is_that_of_its_network(self, entry):
        # 4 bytes for each number, and an archive around them: what tells small from base, and 400 classes from 600.
        if entry.bytes is None:
            return
        numbers = {"image_small": 21545256, "image_base": 49776552, "video_small": 21400400, "video_base": 49813200}
        published = 1000 if entry.sampling == "image" else 400
        expected = numbers[entry.network] + (entry.classes - published) * 513
        assert 0 < entry.bytes - 4 * expected < 400_000

    def test_its_classes_are_those_of_its_labels(self, entry):
        if entry.trained_on == "ImageNet-1K":
            assert (entry.label_set, entry.classes) == (None, 1000)
        else:
            assert len(label_set(entry.label_set)) == entry.classes

    def test_its_sampling(self, entry):
        if entry.trained_on.startswith("Something"):
            assert (entry.sampling, entry.stride) == ("segments", None)
        elif "xxs16" in entry.name:
            assert entry.sampling == "segments"  # the recipe's kinetics_sparse
        else:
            assert entry.sampling == ("image" if entry.trained_on == "ImageNet-1K" else "dense")

    def test_its_address_and_hash_have_their_form(self, entry):
        assert entry.url is None or entry.url.endswith(f"/resolve/main/{entry.file_name}")
        assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        assert entry.file_name == f"{entry.name}.pth"
