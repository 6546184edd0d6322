"""Scenes with one moving shape, drawn frame by frame: the pictures of the demonstration set.

A :class:`Scene` holds every random choice and knows no class. ``poses(scene, motion)`` says where its shape is in each
frame under one of the ten motions, so the classes differ in the motion and in nothing else, and a motion and its
``BACKWARDS`` partner are the same poses in opposite order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

BACKWARDS = {
    "left_to_right": "right_to_left",
    "right_to_left": "left_to_right",
    "top_to_bottom": "bottom_to_top",
    "bottom_to_top": "top_to_bottom",
    "growing": "shrinking",
    "shrinking": "growing",
    "clockwise": "counter_clockwise",
    "counter_clockwise": "clockwise",
    "blinking": "blinking",
    "still": "still",
}
"""What each motion is when its video is played backwards."""

MOTIONS = tuple(BACKWARDS)
"""The ten motions; a motion's place is its class number."""

SHAPES = ("disc", "square", "triangle", "star", "ring")
BACKGROUNDS = ("plain", "gradient", "stripes", "checker", "noise")
FRAME_RATES = (15, 24, 25, 30)

# A background and the shape on it lie in opposite bands of brightness, at least 65 of 255 apart.
_DARK, _LIGHT = (15.0, 95.0), (160.0, 240.0)
_LUMA = np.array([0.299, 0.587, 0.114])
_FINE = 4  # shapes are drawn this many times finer, then averaged


@dataclass(frozen=True)
class Scene:
    """Everything random about one video but its motion. Lengths are in shares of the frame's short side.

    Args:
        background: uint8 (H, W, 3) RGB.
        num_frames: length of the video.
        fps: frames a second.
        shape: one of ``SHAPES``.
        colour: RGB, 0-255; differs from every background pixel by at least 65 of 255 in brightness.
        angle: how far the shape is turned, radians.
        radius: of the shape.
        enlarged: factor on the radius where the shape has the place for it (blinking, still).
        place: two numbers in [-1, 1]: where in its freedom, across and down, the whole movement lies.
        travel: length of a straight way.
        drift: how far a straight way strays to the side.
        ease: in [-0.4, 0.4]; above 0 fast at first, below 0 fast at last. Never stands, never turns back.
        orbit: radius of a round way.
        start: where on the round way it begins, radians.
        turns: length of the round way, in full turns.
        growth: last radius over first.
        shown: for each frame, whether a blinking shape is there; it changes after 4 to 7 frames.
    """

    background: np.ndarray
    num_frames: int
    fps: int
    shape: str
    colour: tuple[int, int, int]
    angle: float
    radius: float
    enlarged: float
    place: tuple[float, float]
    travel: float
    drift: float
    ease: float
    orbit: float
    start: float
    turns: float
    growth: float
    shown: tuple[bool, ...]


@dataclass(frozen=True)
class Pose:
    """A shape in one frame: centre and radius in pixels (x to the right, y down), and whether it is there."""

    x: float
    y: float
    radius: float
    visible: bool = True


def random_scene(generator: np.random.Generator) -> Scene:
    """Draw a scene: 96 to 160 pixels high (even), 4:3 to 16:9 wide (even), 24 to 60 frames."""
    uniform = generator.uniform
    height = 2 * int(generator.integers(48, 81))
    width = 2 * round(height * uniform(4 / 3, 16 / 9) / 2)
    num_frames = int(generator.integers(24, 61))
    behind, front = (_DARK, _LIGHT) if generator.random() < 0.5 else (_LIGHT, _DARK)
    runs = generator.integers(4, 8, size=num_frames)  # more than enough
    shown = (np.repeat(np.arange(num_frames), runs) + generator.integers(2)) % 2 == 0
    return Scene(
        background=_background(height, width, behind, generator),
        num_frames=num_frames,
        fps=int(generator.choice(FRAME_RATES)),
        shape=str(generator.choice(SHAPES)),
        colour=tuple(int(value) for value in _colour(front, generator)),
        angle=uniform(0, 2 * math.pi),
        radius=uniform(0.12, 0.16),
        enlarged=uniform(1.0, 2.0),
        place=(uniform(-1, 1), uniform(-1, 1)),
        travel=uniform(0.55, 0.66),
        drift=uniform(-0.06, 0.06),
        ease=uniform(-0.4, 0.4),
        orbit=uniform(0.26, 0.33),
        start=uniform(-5 / 6 * math.pi, -1 / 6 * math.pi),  # in the upper third
        turns=uniform(0.6, 0.9),
        growth=uniform(2.2, 2.9),
        shown=tuple(bool(value) for value in shown[:num_frames]),
    )


def poses(scene: Scene, motion: str) -> list[Pose]:
    """Return the shape's pose in each frame; the whole shape is inside the frame in all of them.

    Args:
        scene: the scene.
        motion: one of ``MOTIONS``.
    """
    if motion in ("right_to_left", "bottom_to_top", "shrinking", "counter_clockwise"):
        return poses(scene, BACKWARDS[motion])[::-1]
    time = np.linspace(0.0, 1.0, scene.num_frames)
    way = time + scene.ease * time * (1 - time)
    across, down, size = np.zeros_like(way), np.zeros_like(way), np.full_like(way, scene.radius)
    if motion == "left_to_right":
        across, down = scene.travel * (way - 0.5), scene.drift * (way - 0.5)
    elif motion == "top_to_bottom":
        across, down = scene.drift * (way - 0.5), scene.travel * (way - 0.5)
    elif motion == "growing":
        size = scene.radius * scene.growth**way
    elif motion == "clockwise":  # y points down, so a rising angle is clockwise to the eye
        angle = scene.start + 2 * math.pi * scene.turns * way
        across, down = scene.orbit * np.cos(angle), scene.orbit * np.sin(angle)
    else:
        assert motion in ("blinking", "still"), motion
        size = size * scene.enlarged
    visible = scene.shown if motion == "blinking" else (True,) * scene.num_frames

    height, width = scene.background.shape[:2]
    short = min(height, width)
    x = _placed(across * short, size * short, width, scene.place[0], short)
    y = _placed(down * short, size * short, height, scene.place[1], short)
    return [Pose(*map(float, values), shown) for *values, shown in zip(x, y, size * short, visible, strict=True)]


def _placed(offsets: np.ndarray, radii: np.ndarray, extent: int, place: float, short: int) -> np.ndarray:
    """Return coordinates ``offsets`` moved by ``place`` off the middle, not far and never out of [0, extent]."""
    reach = float(np.max(np.abs(offsets) + radii))
    freedom = min(extent / 2 - reach, 0.2 * short)
    assert freedom >= 0, (reach, extent)
    return extent / 2 + place * freedom + offsets


def draw_frames(scene: Scene, motion: str) -> np.ndarray:
    """Return the video, uint8 (T, H, W, 3) RGB."""
    empty = Image.fromarray(scene.background)
    frames = []
    for pose in poses(scene, motion):
        frame = empty.copy()
        if pose.visible:
            left, top, mask = _mask(scene.shape, scene.angle, pose)
            frame.paste(scene.colour, (left, top), mask)
        frames.append(np.asarray(frame))
    return np.stack(frames)


def _mask(shape: str, angle: float, pose: Pose) -> tuple[int, int, Image.Image]:
    """Return left, top and an antialiased mask ("L") of a shape in a tile just large enough for it."""
    left, top = math.floor(pose.x - pose.radius) - 1, math.floor(pose.y - pose.radius) - 1
    side = math.ceil(2 * pose.radius) + 4
    fine = Image.new("L", (side * _FINE, side * _FINE))
    draw = ImageDraw.Draw(fine)
    x, y, radius = (pose.x - left) * _FINE, (pose.y - top) * _FINE, pose.radius * _FINE
    if shape in ("disc", "ring"):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        if shape == "ring":
            hole = 0.55 * radius
            draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    else:
        draw.polygon([(x + radius * u, y + radius * v) for u, v in _corners(shape, angle)], fill=255)
    return left, top, fine.reduce(_FINE)


def _corners(shape: str, angle: float) -> list[tuple[float, float]]:
    """Return the corners of a polygon within the unit circle."""
    radii = {"square": (1.0,) * 4, "triangle": (1.0,) * 3, "star": (1.0, 0.42) * 5}[shape]
    step = 2 * math.pi / len(radii)
    return [(r * math.cos(angle + k * step), r * math.sin(angle + k * step)) for k, r in enumerate(radii)]


def _colour(band: tuple[float, float], generator: np.random.Generator) -> np.ndarray:
    """Draw an RGB colour, float (3,) of whole numbers, evenly among those with brightness in ``band``."""
    while True:
        colour = generator.integers(0, 256, 3).astype(np.float64)
        if band[0] <= colour @ _LUMA <= band[1]:
            return colour


def _background(height: int, width: int, band: tuple[float, float], generator: np.random.Generator) -> np.ndarray:
    """Draw a background, uint8 (H, W, 3): a mixture of three colours of ``band``, so it stays in the band."""
    colours = np.stack([_colour(band, generator) for _ in range(3)])
    kind = str(generator.choice(BACKGROUNDS))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    angle, period = generator.uniform(0, math.pi), generator.uniform(0.12, 0.35) * height
    along = x * math.cos(angle) + y * math.sin(angle)
    beside = y * math.cos(angle) - x * math.sin(angle)
    if kind == "noise":
        weights = _smooth_noise(height, width, generator)
    else:
        if kind == "plain":
            share = np.zeros((height, width))
        elif kind == "gradient":
            share = (along - along.min()) / (along.max() - along.min())
        elif kind == "stripes":
            share = np.floor(along / period) % 2
        else:
            share = (np.floor(along / period) + np.floor(beside / period)) % 2
        weights = np.stack([1 - share, share, np.zeros_like(share)], axis=-1)
    return np.rint(weights @ colours).astype(np.uint8)


def _smooth_noise(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Return three random fields (H, W, 3), smooth over an eighth of the height, >= 0 with sum 1 at each pixel."""
    coarse = generator.random((3, 9, 14), dtype=np.float32)
    fields = [Image.fromarray(field).resize((width, height), Image.Resampling.BILINEAR) for field in coarse]
    weights = np.stack([np.asarray(field, dtype=np.float64) for field in fields], axis=-1) ** 3 + 1e-6
    return weights / weights.sum(axis=-1, keepdims=True)
