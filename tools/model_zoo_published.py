"""Published accuracies and multiply-adds, for the tables that ``model_zoo.py`` writes."""

from __future__ import annotations

from dataclasses import dataclass

KINETICS_400 = "Kinetics-400"
KINETICS_600 = "Kinetics-600"
SOMETHING_V1 = "Something-Something V1"
SOMETHING_V2 = "Something-Something V2"
SMALL_SETS = "UCF101 and HMDB51, split 1"
HOURGLASS = "Hourglass networks, Kinetics-400"
SECTIONS = (KINETICS_400, KINETICS_600, SOMETHING_V1, SOMETHING_V2, SMALL_SETS, HOURGLASS)


@dataclass(frozen=True)
class Published:
    """What the authors published of one recipe or image network.

    Attributes:
        section: where it stands in MODEL_ZOO.md.
        weights: name of its weights; they need not be in the zoo.
        top1: accuracy in percent on the validation set; None where none was published.
        flops: multiply-adds of all views as printed, such as "70G"; empty where none were.
    """

    section: str
    weights: str
    top1: float | None
    flops: str


def _kinetics() -> dict[str, Published]:
    """Return the recipes of Kinetics-400 and -600 with all views of a video: 4 clips x 1 crop."""
    table = {  # multiply-adds, top-1 on 400 classes, on 600
        ("s", "8x8"): ("70G", 78.4, None),
        ("s", "16x4"): ("167G", 80.8, 82.8),
        ("s", "16x8"): ("167G", 80.8, 82.7),
        ("s", "32x4"): ("438G", 82.0, None),
        ("b", "8x8"): ("161G", 79.8, None),
        ("b", "16x4"): ("387G", 82.0, 84.0),
        ("b", "16x8"): ("387G", 81.7, 83.4),
        ("b", "32x4"): ("1036G", 82.9, 84.5),
    }
    recipes = {}
    for (size, sampling), (flops, k400, k600) in table.items():
        for suffix, name, section, top1 in (("", "k400", KINETICS_400, k400), ("_k600", "k600", KINETICS_600, k600)):
            if top1 is not None:
                weights = f"uniformer_{LONG[size]}_{name}_{sampling}"
                recipes[f"Kinetics/uniformer_{size}{sampling}{suffix}"] = Published(section, weights, top1, flops)
    return recipes


def _something() -> dict[str, Published]:
    """Return the recipes of Something-Something, 1 clip x 3 crops."""
    table = {  # multiply-adds, then top-1 on V1 from Kinetics-400 and -600, on V2 from the same
        ("s", 16): ("125G", 57.2, 57.6, 67.7, 69.4),
        ("s", 32): ("329G", 58.8, 59.9, 69.0, 70.4),
        ("b", 16): ("290G", 59.1, 58.8, 70.4, 70.2),
        ("b", 32): ("777G", 60.9, 61.0, 71.1, 71.2),
    }
    columns = (("1", SOMETHING_V1, "k400"), ("1", SOMETHING_V1, "k600"))
    columns += (("2", SOMETHING_V2, "k400"), ("2", SOMETHING_V2, "k600"))
    recipes = {}
    for (size, frames), (flops, *accuracies) in table.items():
        for (edition, section, start), top1 in zip(columns, accuracies, strict=True):
            weights = f"uniformer_{LONG[size]}_sthv{edition}_{frames}_pre{start}"
            recipes[f"SSv{edition}/uniformer_{size}{frames}_pre{start}"] = Published(section, weights, top1, flops)
    return recipes


def _hourglass() -> dict[str, Published]:
    """Return the recipes of the hourglass networks, one view."""
    table = {
        "xxs4_128": ("1.0G", 63.2),
        "xxs8_128": ("2.0G", 68.3),
        "xxs16_128": ("4.2G", 73.3),
        "xxs4_160": ("1.6G", 65.8),
        "xxs8_160": ("3.3G", 71.4),
        "xxs16_160": ("6.9G", 75.1),
        "xxs32_160": ("15.4G", 77.9),
        "xs32_192": ("34.2G", 78.6),
    }
    return {
        f"Kinetics/uniformer_{name}": Published(HOURGLASS, f"uniformer_{name}_k400", top1, flops)
        for name, (flops, top1) in table.items()
    }


LONG = {"s": "small", "b": "base"}

RECIPES: dict[str, Published] = {
    **_kinetics(),
    **_something(),
    "UCF101/uniformer_s16x4_prek400": Published(SMALL_SETS, "uniformer_small_ucf101_16x4_prek400", 98.3, "625G"),
    "HMDB51/uniformer_s16x4_prek400": Published(SMALL_SETS, "uniformer_small_hmdb51_16x4_prek400", 77.5, "625G"),
    **_hourglass(),
}
"""The published recipes, by their path below configs/ without ending, in the order in which they are listed."""

IMAGES: tuple[tuple[str, int, float | None, str], ...] = (
    ("image_xxs_128", 128, None, ""),
    ("image_xxs_128", 160, None, ""),
    ("image_xs_192", 192, None, ""),
    ("image_small", 224, 83.4, "3.6G"),
    ("image_small_plus", 224, None, ""),
    ("image_small_plus_dim64", 224, None, ""),
    ("image_base", 224, None, ""),
    ("image_base_ls", 224, None, ""),
    ("image_large_ls", 224, 85.6, "12.6G"),
    ("image_large_ls", 384, 86.3, "39.2G"),
)
"""Image networks: name in ``models.published.NETWORKS``, pixels of a side, ImageNet-1K top-1, multiply-adds."""

_LARGE = (
    "The published figure is what a network with 10 blocks in stage 3 counts: 12.6 G at 224 pixels, 39.2 G at 384 "
    "(66 M parameters, while the figure stands beside 100 M). The published weights have 24 blocks there; probably "
    "the figure is not theirs."
)
DISAGREEMENTS: dict[str, str] = {
    "Kinetics/uniformer_xxs8_160": (
        "The published figures of XXS at 160 pixels and of XS lie 0.4 to 0.8 % above what the published implementation "
        "counts (15.4 against 15.33 G, 34.2 against 33.9 G): 3.24 G and 0.4 % are 3.25 G, probably "
        "printed as 3.3."
    ),
    "image_large_ls 224": _LARGE,
    "image_large_ls 384": _LARGE,
}
"""Why a counted figure is further from the published one than :func:`agrees` allows, by recipe or image network."""


def rounding(printed: str) -> float:
    """Return by how much at most a figure printed as "4.2G" was rounded, in its unit: 0.05."""
    _, _, decimals = printed.removesuffix("G").partition(".")
    return 0.5 * 10.0 ** -len(decimals)


def agrees(counted: float, printed: str) -> bool:
    """Return whether counted multiply-adds are within 1 % of the published figure, or within its rounding.

    Args:
        counted: multiply-adds.
        printed: the published figure with its digits, such as "70G"; G is 1e9.
    """
    published = float(printed.removesuffix("G"))
    return abs(counted / 1e9 - published) <= max(0.01 * published, rounding(printed))
