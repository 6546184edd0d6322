"""A network and clips so small that a whole job takes a second."""

from __future__ import annotations

TINY = [
    *("UNIFORMER.EMBED_DIM", "[8,16,24,32]"),
    *("UNIFORMER.DEPTH", "[1,1,2,1]"),
    *("UNIFORMER.HEAD_DIM", "8"),
    *("DATA.NUM_FRAMES", "2"),
    *("DATA.TRAIN_CROP_SIZE", "32"),
    *("DATA.TEST_CROP_SIZE", "32"),
    *("MODEL.NUM_CLASSES", "8"),
    *("DATA_LOADER.NUM_WORKERS", "0"),
]
SMALL = (48, 64)
"""Height and width of the videos."""
