"""MODEL_ZOO.md: counted figures against the published ones, accuracies against the published table, and the file."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from uniformer_video.models.complexity import measure_size
from uniformer_video.models.published import NETWORKS
from uniformer_video.models.zoo import ZOO

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "model_zoo.py"
with (ROOT / "tests" / "data" / "results.csv").open(newline="", encoding="utf-8") as _file:
    RESULTS = {row["recipe"]: row for row in csv.DictReader(_file)}

# Published figures that are not those of the network; see DISAGREEMENTS for why. G of all views as counted.
ELSEWHERE = {
    "Kinetics/uniformer_xxs8_160": ("3.3G", "3.240"),
    "image_large_ls 224": ("12.6G", "19.755"),
    "image_large_ls 384": ("39.2G", "62.884"),
}


def load_tool():
    spec = importlib.util.spec_from_file_location("model_zoo", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["model_zoo"] = module
    spec.loader.exec_module(module)
    return module


tool = load_tool()
import model_zoo_counts  # noqa: E402
import model_zoo_published as published  # noqa: E402


class TestPublishedTable:
    def test_the_39_recipes_are_those_of_the_results(self):
        assert len(RESULTS) == 39
        assert set(published.RECIPES) == set(RESULTS)

    @pytest.mark.parametrize("name", RESULTS)
    def test_accuracy_and_figure(self, name):
        row, entry = RESULTS[name], published.RECIPES[name]
        assert (str(entry.top1), entry.flops) == (row["top1"], row["flops"])
        assert entry.section in published.SECTIONS

    def test_weights_names_are_different_and_agree_with_the_zoo(self):
        names = [entry.weights for entry in published.RECIPES.values()]
        assert len(set(names)) == len(names)
        for entry in published.RECIPES.values():
            if entry.weights in ZOO:
                assert ZOO[entry.weights].top1 == entry.top1, entry.weights

    def test_every_video_weight_of_the_zoo_has_its_recipe(self):
        names = {entry.weights for entry in published.RECIPES.values()}
        assert {name for name, entry in ZOO.items() if entry.sampling != "image"} <= names

    def test_every_image_weight_of_the_zoo_is_listed_once(self):
        listed = [w for name, pixels, *_ in published.IMAGES for w in tool.image_weights(name, pixels)]
        assert sorted(listed) == sorted(name for name, entry in ZOO.items() if entry.sampling == "image")


class TestCounted:
    @pytest.mark.parametrize("name", RESULTS)
    def test_recipe(self, name):
        row, recipe = RESULTS[name], model_zoo_counts.read_recipe(name)
        assert int(row["frames"]) == recipe.cfg.DATA.NUM_FRAMES
        assert recipe.views == (int(row["clips"]), int(row["crops"]))
        assert recipe.all_views == recipe.size.total_multiply_adds * int(row["clips"]) * int(row["crops"])
        if name in ELSEWHERE:
            assert not published.agrees(recipe.all_views, row["flops"])
            assert (row["flops"], f"{recipe.all_views / 1e9:.3f}") == ELSEWHERE[name]
        else:
            assert published.agrees(recipe.all_views, row["flops"])

    @pytest.mark.parametrize("image", published.IMAGES, ids=lambda image: f"{image[0]} {image[1]}")
    def test_image_network(self, image):
        name, pixels, _, flops = image
        counted = model_zoo_counts.image_size(name, pixels).total_multiply_adds
        if f"{name} {pixels}" in ELSEWHERE:
            assert not published.agrees(counted, flops)
            assert (flops, f"{counted / 1e9:.3f}") == ELSEWHERE[f"{name} {pixels}"]
        elif flops:
            assert published.agrees(counted, flops)

    def test_published_parameters_of_image_networks(self):
        for name, millions in (("image_small", "22"), ("image_large_ls", "100")):
            assert f"{model_zoo_counts.image_size(name, 224).total_parameters / 1e6:.0f}" == millions

    def test_what_the_reason_of_the_large_network_says_is_counted(self):
        reason = published.DISAGREEMENTS["image_large_ls 224"]
        with torch.device("meta"):
            fewer = NETWORKS["image_large_ls"].build(depths=(5, 10, 10, 7))
        for pixels, figure in ((224, "12.6 G"), (384, "39.2 G")):
            size = measure_size(fewer, (3, 1, pixels, pixels))
            assert f"{size.total_multiply_adds / 1e9:.1f} G" == figure
            assert figure in reason
        assert f"({size.total_parameters / 1e6:.0f} M parameters, while the figure stands beside 100 M)" in reason

    @pytest.mark.parametrize("reason", sorted(set(published.DISAGREEMENTS.values())))
    def test_a_reason_that_is_inferred_is_said_to_be_probable(self, reason):
        assert "probably" in reason
        assert "figure is that of" not in reason

    def test_only_these_disagree_and_each_is_explained(self):
        assert set(published.DISAGREEMENTS) == set(ELSEWHERE)

    def test_recipes_that_differ_in_training_alone_are_counted_once(self):
        one = model_zoo_counts.read_recipe("SSv1/uniformer_s16_prek400")
        other = model_zoo_counts.read_recipe("SSv2/uniformer_s16_prek600")
        assert one.cfg.UNIFORMER.DROP_DEPTH_RATE != other.cfg.UNIFORMER.DROP_DEPTH_RATE
        assert one.size is other.size
        assert model_zoo_counts.read_recipe("SSv1/uniformer_b16_prek400").size is not one.size


class TestRule:
    @pytest.mark.parametrize(
        ("counted", "printed", "agrees"),
        [
            (70.49e9, "70G", True),
            (70.71e9, "70G", False),  # 1.01 %
            (69.29e9, "70G", False),
            (2.0331e9, "2.0G", True),  # 1.7 %, and 2.0 to its digits
            (2.051e9, "2.0G", False),
            (1.949e9, "2.0G", False),
            (3.2403e9, "3.3G", False),
            (1034.5e9, "1036G", True),
            (1047e9, "1036G", False),
            (12.65e9, "12.6G", True),
            (12.73e9, "12.6G", False),
        ],
    )
    def test_within_1_percent_or_the_rounding(self, counted, printed, agrees):
        assert published.agrees(counted, printed) is agrees

    @pytest.mark.parametrize(("printed", "half"), [("70G", 0.5), ("4.2G", 0.05), ("15.4G", 0.05), ("258.62G", 0.005)])
    def test_rounding(self, printed, half):
        assert published.rounding(printed) == pytest.approx(half)


class TestRows:
    def cells(self, name):
        return dict(
            zip(tool.RECIPE_COLUMNS, tool.recipe_row(name, published.RECIPES.get(name), tool.Notes()), strict=True)
        )

    def test_a_dense_recipe(self):
        assert self.cells("Kinetics/uniformer_b16x4") == {
            "config": "[Kinetics/uniformer_b16x4](configs/Kinetics/uniformer_b16x4.yaml)",
            "network": "B",
            "sampling": "16 x 4, 224",
            "views": "4 x 1",
            "parameters": "49.813 M",
            "multiply-adds, one view": "96.74 G",
            "all views": "387.0 G",
            "published": "387 G",
            "top-1": "82.0",
            "weights": "`uniformer_base_k400_16x4`",
            "starts from": "`uniformer_base_in1k`",
        }

    def test_segments_another_number_of_classes_and_weights_without_an_address(self):
        cells = self.cells("SSv2/uniformer_b32_prek600")
        assert cells["sampling"] == "32 segments, 224"
        assert cells["views"] == "1 x 3"
        assert cells["parameters"] == f"{49.8132 - (400 - 174) * 513e-6:.3f} M"
        assert cells["starts from"] == "*uniformer_base_k600_16x4* †"

    def test_an_hourglass_and_its_note(self):
        notes = tool.Notes()
        name = "Kinetics/uniformer_xxs8_160"
        assert "3.3 G (1)" in tool.recipe_row(name, published.RECIPES[name], notes)
        assert notes.lines() == ["", f"(1) {published.DISAGREEMENTS[name]}"]
        cells = self.cells("Kinetics/uniformer_xxs4_128")
        assert (cells["network"], cells["sampling"]) == ("XXS, layer scale", "4 segments, 128")
        assert cells["weights"] == "-"

    @pytest.mark.parametrize("name", ZOO)
    def test_weights_without_address_are_italic_and_those_without_hash_have_a_dagger(self, name):
        entry, cell = ZOO[name], tool.weights_cell(name)
        assert cell.removesuffix(" †") == (f"`{name}`" if entry.url else f"*{name}*")
        assert cell.endswith(" †") is (entry.sha256 is None)

    def test_daggers_of_known_rows(self):
        assert tool.weights_cell("uniformer_xxs16_160_k400") == "`uniformer_xxs16_160_k400` †"
        assert tool.weights_cell("uniformer_xxs_128_in1k") == "*uniformer_xxs_128_in1k* †"
        assert tool.weights_cell("uniformer_base_in1k") == "`uniformer_base_in1k`"
        assert tool.weights_cell("uniformer_none") == "-"

    def test_an_own_recipe(self):
        cells = self.cells("Kinetics/uniformer_b8x32")
        assert (cells["network"], cells["published"], cells["top-1"]) == ("B, local kernel 3x5x5", "", "")
        assert self.cells("Demo/shapes")["network"] == "own, local kernel 3x5x5"

    def test_the_same_reason_has_one_number(self):
        notes = tool.Notes()
        assert notes.figure("image_large_ls 224", 20 * 10**9, "12.6G") == "12.6 G (1)"
        assert notes.figure("image_large_ls 384", 60 * 10**9, "39.2G") == "39.2 G (1)"
        assert notes.figure("Kinetics/uniformer_xxs8_160", 1, "3.3G") == "3.3 G (2)"
        assert len(notes.lines()) == 4
        assert notes.figure("image_base", 1, "") == ""

    def test_a_figure_that_disagrees_for_no_known_reason_stops_everything(self):
        with pytest.raises(KeyError, match="uniformer_s8x8"):
            tool.Notes().figure("Kinetics/uniformer_s8x8", 1, "70G")

    @pytest.mark.parametrize(
        ("count", "text"), [(1_003_800_000, "1.004 G"), (17_613_435_904, "17.61 G"), (1_034_510_000_000, "1034.5 G")]
    )
    def test_giga(self, count, text):
        assert tool.giga(count) == text


class TestDocument:
    def test_the_file_is_up_to_date(self):
        assert (ROOT / "MODEL_ZOO.md").read_text(encoding="utf-8") == tool.document(), "run `make docs`"

    def test_every_recipe_stands_in_it_once_and_links_lead_somewhere(self):
        text = tool.document()
        recipes = [p for p in (ROOT / "configs").rglob("*.yaml") if not p.name.startswith("_")]
        assert len(recipes) >= 39
        for path in recipes:
            # Those whose network depends on the user's data have no row: there is nothing to count.
            times = 0 if path.name == "finetune.yaml" else 1
            assert text.count(f"]({path.relative_to(ROOT).as_posix()})") == times, path
        for link in text.split("](")[1:]:
            assert (ROOT / link.partition(")")[0]).is_file()

    def test_it_says_what_it_counts_and_that_it_is_generated(self):
        text = tool.document()
        assert "Generated from" in text and "Do not edit." in text and "`make docs`" in text
        assert "within 1 %" in text and "softmax" in text
        words = "no hash of the file is published; a download is checked by its network and classes alone."
        assert f"A dagger (†): {words}" in " ".join(text.split())
        for section in published.SECTIONS:
            assert f"\n## {section}\n" in text

    def test_tables_are_whole(self):
        for block in tool.document().split("\n\n"):
            if block.startswith("|"):
                assert len({line.count("|") for line in block.splitlines()}) == 1

    def test_write_then_check(self, tmp_path, capsys):
        path = tmp_path / "ZOO.md"
        assert tool.main(["--check", "--out", str(path)]) == 1
        assert "is out of date; run `make docs`" in capsys.readouterr().out
        assert not path.exists()
        assert tool.main(["--out", str(path)]) == 0
        assert path.read_text(encoding="utf-8") == tool.document()
        assert tool.main(["--check", "--out", str(path)]) == 0
        assert "is up to date" in capsys.readouterr().out
        path.write_text(path.read_text(encoding="utf-8").replace("82.0", "83.0"))
        assert tool.main(["--check", "--out", str(path)]) == 1

    def test_mistakes_are_one_line(self, tmp_path, capsys):
        for out in (tmp_path, tmp_path / "none" / "ZOO.md"):
            with pytest.raises(SystemExit, match="2"):
                tool.main(["--out", str(out)])
            error = capsys.readouterr().err
            assert error.startswith("error: --out ") and error.count("\n") == 1

    def test_a_recipe_that_is_gone_is_one_line(self, monkeypatch, tmp_path, capsys):
        gone = published.Published(published.KINETICS_400, "", 1.0, "1G")
        monkeypatch.setitem(tool.RECIPES, "Kinetics/uniformer_none", gone)
        assert tool.main(["--out", str(tmp_path / "ZOO.md")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and "uniformer_none" in error
