#!/usr/bin/env python3
"""Write MODEL_ZOO.md: every recipe and image network with its counted cost, published accuracy, config and weights."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
ROOT = TOOLS.parent
for folder in (TOOLS, ROOT):  # works from a clone that is not installed
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from model_zoo_published import DISAGREEMENTS, IMAGES, RECIPES, SECTIONS, Published, agrees  # noqa: E402

from uniformer_video.runtime.cli import ArgumentParser, run_command  # noqa: E402

EXAMPLES = """examples:
  python tools/model_zoo.py            write MODEL_ZOO.md (`make docs` does too)
  python tools/model_zoo.py --check    exit code 1 where MODEL_ZOO.md is not what would be written
"""

DOCUMENT = ROOT / "MODEL_ZOO.md"

HEADER = """# Model zoo

Generated from the recipes, the networks and the table of weights by `make docs` (`python tools/model_zoo.py`); a test
holds them together. Do not edit.

- **sampling**: frames x stride, or segments (one frame from each of so many equal parts of the video); then the pixels
  of a side.
- **views**: clips x crops of a video, whose scores are summed. Published top-1 is with these views. Published numbers
  are the authors' own; no recipe has been trained anew here.
- **multiply-adds**: counted from the operations of a forward pass, whichever attention kernel runs; `python
  tools/complexity.py --cfg FILE` shows them by stage and by kind. Batch norm counts 2 and layer norm 5 for each
  number, as in published figures; biases, activation functions, softmax, pooling and sums do not count. A counted
  figure (all views) agrees with the published one when it is within 1 % or within the rounding of the printed digits.
  The rows that do not agree have a number, and below their table stands why.
- **weights**: the name by which `UNIFORMER.PRETRAIN_NAME`, `TRAIN.CHECKPOINT_FILE_PATH` and
  `TEST.CHECKPOINT_FILE_PATH` find them. *Italic*: no public address is known; put the file into the folder that
  `UNIFORMER_WEIGHTS` names. A dagger (†): no hash of the file is published; a
  download is checked by its network and classes alone. A dash: not in
  the zoo; give a path.
"""

RECIPE_COLUMNS = {
    "config": "---",
    "network": "---",
    "sampling": "---",
    "views": "---:",
    "parameters": "---:",
    "multiply-adds, one view": "---:",
    "all views": "---:",
    "published": "---:",
    "top-1": "---:",
    "weights": "---",
    "starts from": "---",
}
IMAGE_COLUMNS = {
    "network": "---",
    "pixels": "---:",
    "parameters": "---:",
    "multiply-adds": "---:",
    "published": "---:",
    "ImageNet-1K top-1": "---:",
    "weights": "---",
}


class Notes:
    """Numbered reasons below a table; the same reason has one number."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def figure(self, name: str, counted: int, flops: str) -> str:
        """Return a published figure as a cell, with a number behind it where the counted one does not agree."""
        if not flops:
            return ""
        cell = f"{flops.removesuffix('G')} G"
        if agrees(counted, flops):
            return cell
        reason = DISAGREEMENTS[name]
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"{cell} ({self.reasons.index(reason) + 1})"

    def lines(self) -> list[str]:
        """Return the reasons as text."""
        return [line for number, reason in enumerate(self.reasons, 1) for line in ("", f"({number}) {reason}")]


def table(columns: dict[str, str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; ``columns`` are names and the rules below them."""
    assert all(len(row) == len(columns) for row in rows), "a row has other columns than the table"
    return ["| " + " | ".join(cells) + " |" for cells in (columns, columns.values(), *rows)]


def giga(count: int) -> str:
    """Return a count in G (1e9) with four digits or so."""
    value = count / 1e9
    return f"{value:.3f} G" if value < 10 else f"{value:.2f} G" if value < 100 else f"{value:.1f} G"


def mega(count: int) -> str:
    """Return a count in M (1e6) with three decimals."""
    return f"{count / 1e6:.3f} M"


def weights_cell(name: str) -> str:
    """Return a name of weights: as code where they can be downloaded, italic where only a file can give them.

    A dagger follows where there is no hash to check them by.
    """
    from uniformer_video.models.zoo import ZOO

    if name not in ZOO:
        return "-"
    return (f"`{name}`" if ZOO[name].url else f"*{name}*") + ("" if ZOO[name].sha256 else " †")


def recipe_row(name: str, published: Published | None, notes: Notes) -> list[str]:
    """Return the cells of a recipe; ``published`` is None for one that nobody has published."""
    from model_zoo_counts import read_recipe

    recipe = read_recipe(name)
    start = recipe.cfg.UNIFORMER.PRETRAIN_NAME
    return [
        f"[{name}](configs/{name}.yaml)",
        recipe.network,
        recipe.sampling,
        " x ".join(str(number) for number in recipe.views),
        mega(recipe.size.total_parameters),
        giga(recipe.size.total_multiply_adds),
        giga(recipe.all_views),
        notes.figure(name, recipe.all_views, published.flops) if published else "",
        str(published.top1) if published else "",
        weights_cell(published.weights) if published else "-",
        weights_cell(start) if start else "",
    ]


def recipe_section(title: str) -> list[str]:
    """Return the lines of one section of published recipes."""
    notes = Notes()
    rows = [recipe_row(name, published, notes) for name, published in RECIPES.items() if published.section == title]
    return ["", f"## {title}", "", *table(RECIPE_COLUMNS, rows), *notes.lines()]


def image_section() -> list[str]:
    """Return the lines of the image networks."""
    from model_zoo_counts import image_size

    notes, rows = Notes(), []
    for name, pixels, top1, flops in IMAGES:
        size = image_size(name, pixels)
        cells = [name, str(pixels), mega(size.total_parameters), giga(size.total_multiply_adds)]
        cells += [notes.figure(f"{name} {pixels}", size.total_multiply_adds, flops), str(top1) if top1 else ""]
        rows.append([*cells, ", ".join(weights_cell(weights) for weights in image_weights(name, pixels)) or "-"])
    intro = "What video networks start from. The names of the networks are those of `uniformer_video.models.published`."
    return ["", "## Image networks, ImageNet-1K", "", intro, "", *table(IMAGE_COLUMNS, rows), *notes.lines()]


def image_weights(network: str, pixels: int) -> list[str]:
    """Return the zoo's names of weights of an image network; a name with a number in it is for that many pixels."""
    from uniformer_video.models.zoo import ZOO

    names = [name for name, entry in ZOO.items() if entry.network == network]
    return [name for name in names if next((int(w) for w in name.split("_") if w.isdigit()), pixels) == pixels]


def own_recipes() -> list[str]:
    """Return the names of the recipes that nobody has published.

    A name with an underscore is no recipe, nor is one whose network depends on the user's data.
    """
    from model_zoo_counts import CONFIGS

    from uniformer_video.config import load_config

    paths = [path for path in sorted(CONFIGS.rglob("*.yaml")) if not path.name.startswith("_")]
    fixed = [path for path in paths if load_config(path).MODEL.NUM_CLASSES != "auto"]
    names = [path.relative_to(CONFIGS).with_suffix("").as_posix() for path in fixed]
    return [name for name in names if name not in RECIPES]


def document() -> str:
    """Return the text of MODEL_ZOO.md.

    Raises:
        UserError: a recipe cannot be read.
    """
    own = table(RECIPE_COLUMNS, [recipe_row(name, None, Notes()) for name in own_recipes()])
    lines = [HEADER.rstrip()]
    for title in SECTIONS:
        lines += recipe_section(title)
    lines += [*image_section(), "", "## This project's own recipes", "", *own]
    return "\n".join(lines) + "\n"


def write(path: Path, *, check: bool) -> int:
    """Write the document, or compare it with what is there, and return the exit code."""
    from uniformer_video.runtime.paths import atomic_write

    text = document()
    name = os.path.relpath(path)
    if check:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            print(f"{name} is up to date")
            return 0
        print(f"{name} is out of date; run `make docs`")
        return 1
    with atomic_write(path) as file:
        file.write(text)
    print(f"wrote {name}")
    return 0


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where the file is out of date")
    parser.add_argument("--out", type=Path, default=DOCUMENT, metavar="FILE", help="the file (default: MODEL_ZOO.md)")
    args = parser.parse_args(argv)
    if args.out.is_dir() or not args.out.absolute().parent.is_dir():
        parser.error(f"--out {str(args.out)!r} must be a file in a folder that exists")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Write the document and return the exit code: 1 where --check finds another, 2 after a mistake of the user."""
    args = parse_args(argv)
    return run_command(lambda: write(args.out, check=args.check))


if __name__ == "__main__":
    sys.exit(main())
