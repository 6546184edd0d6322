"""Scenes: what each motion looks like, backwards and in half a video, measured on poses and on pixels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from uniformer_video.datasets.shapes_draw import (
    BACKGROUNDS,
    BACKWARDS,
    MOTIONS,
    SHAPES,
    draw_frames,
    poses,
    random_scene,
)

SCENES = [random_scene(np.random.default_rng(number)) for number in range(40)]
LUMA = np.array([0.299, 0.587, 0.114])


def turning(x, y):
    """Return the angle swept about the middle of the points' circle, from triples: > 0 is clockwise on a screen."""
    dx, dy = np.diff(x), np.diff(y)
    headings = np.unwrap(np.arctan2(dy, dx))
    return headings[-1] - headings[0]


def classify(track) -> str:
    """Tell the motion from a stretch of poses alone, by rules that know nothing of how it was made."""
    if not all(pose.visible for pose in track):
        return "blinking"
    x, y, radius = (np.array([getattr(pose, name) for pose in track]) for name in ("x", "y", "radius"))
    if max(np.ptp(x), np.ptp(y), np.ptp(radius)) == 0:
        return "still"
    if np.ptp(radius) > 0:
        return "growing" if radius[-1] > radius[0] else "shrinking"
    swept = turning(x, y)
    if abs(swept) > math.pi / 4:
        return "clockwise" if swept > 0 else "counter_clockwise"
    across, down = x[-1] - x[0], y[-1] - y[0]
    if abs(across) > abs(down):
        return "left_to_right" if across > 0 else "right_to_left"
    return "top_to_bottom" if down > 0 else "bottom_to_top"


@pytest.mark.parametrize("motion", MOTIONS)
def test_every_half_of_every_video_shows_its_class(motion):
    for scene in SCENES:
        track = poses(scene, motion)
        assert len(track) == scene.num_frames
        half = scene.num_frames // 2
        for start in range(scene.num_frames - half + 1):
            assert classify(track[start : start + half]) == motion


@pytest.mark.parametrize("motion", MOTIONS)
def test_eight_frames_over_half_a_video_show_its_class(motion):
    for scene in SCENES:
        track = poses(scene, motion)
        for start in (0, scene.num_frames // 2):
            stop = start + scene.num_frames // 2
            picked = [track[i] for i in np.linspace(start, stop - 1, 8).astype(int)]
            assert classify(picked) == motion


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_motion_is_large_enough_to_see(motion):
    for scene in SCENES:
        track = poses(scene, motion)
        short = min(scene.background.shape[:2])
        for part in (track[: len(track) // 2], track[len(track) // 2 :]):
            across, down = part[-1].x - part[0].x, part[-1].y - part[0].y
            if "_to_" in motion:
                assert max(abs(across), abs(down)) > 0.18 * short
                assert min(abs(across), abs(down)) < 0.06 * short
            elif motion in ("growing", "shrinking"):
                assert max(part[-1].radius / part[0].radius, part[0].radius / part[-1].radius) > 1.3
            elif "clockwise" in motion:
                path = sum(math.dist((a.x, a.y), (b.x, b.y)) for a, b in itertools.pairwise(part))
                assert path > 0.3 * short


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_video_backwards_is_a_video_of_the_partner_class(motion):
    partner = BACKWARDS[motion]
    assert BACKWARDS[partner] == motion
    for scene in SCENES[:10]:
        if motion == "blinking":
            mirrored = poses(scene, motion)[::-1]
            assert classify(mirrored[: len(mirrored) // 2]) == classify(mirrored[len(mirrored) // 2 :]) == "blinking"
            assert all(length <= 7 for _, length in runs(pose.visible for pose in mirrored))
            continue
        assert poses(scene, partner) == poses(scene, motion)[::-1]
        assert np.array_equal(draw_frames(scene, partner), draw_frames(scene, motion)[::-1])
        assert (partner == motion) == (motion == "still")


def test_the_pairs_are_the_ones_promised():
    pairs = {frozenset(pair) for pair in BACKWARDS.items() if pair[0] != pair[1]}
    assert pairs == {
        frozenset(pair)
        for pair in [
            ("left_to_right", "right_to_left"),
            ("top_to_bottom", "bottom_to_top"),
            ("growing", "shrinking"),
            ("clockwise", "counter_clockwise"),
        ]
    }
    assert len(MOTIONS) == 10


def runs(flags):
    return [(shown, len(list(group))) for shown, group in itertools.groupby(flags)]


def test_blinking_changes_every_four_to_seven_frames():
    for scene in SCENES:
        lengths = [length for _, length in runs(scene.shown)]
        assert len(lengths) >= 4
        assert all(4 <= length <= 7 for length in lengths[:-1])
        assert 1 <= lengths[-1] <= 7


def test_only_blinking_hides_the_shape():
    for motion in MOTIONS:
        hidden = any(not pose.visible for pose in poses(SCENES[0], motion))
        assert hidden == (motion == "blinking")


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_shape_never_leaves_the_frame(motion):
    for scene in SCENES:
        height, width = scene.background.shape[:2]
        for pose in poses(scene, motion):
            assert pose.radius - 1e-9 <= pose.x <= width - pose.radius + 1e-9
            assert pose.radius - 1e-9 <= pose.y <= height - pose.radius + 1e-9


@pytest.mark.parametrize("motion", MOTIONS)
def test_frames_show_the_shape_where_the_pose_is(motion):
    for scene in SCENES[:8]:
        frames = draw_frames(scene, motion)
        height, width = scene.background.shape[:2]
        assert (frames.dtype, frames.shape) == (np.uint8, (scene.num_frames, height, width, 3))
        for frame, pose in list(zip(frames, poses(scene, motion), strict=True))[::7]:
            changed = (frame != scene.background).any(-1)
            assert changed.any() == pose.visible
            if pose.visible:
                y, x = np.nonzero(changed)
                assert np.hypot(x + 0.5 - pose.x, y + 0.5 - pose.y).max() < pose.radius + 1.5
                # the centre of mass is the pose's centre, for every shape
                assert math.dist((x.mean() + 0.5, y.mean() + 0.5), (pose.x, pose.y)) < 1.0


def test_shape_and_background_differ_in_brightness():
    for scene in SCENES:
        gap = np.abs(scene.background @ LUMA - np.dot(scene.colour, LUMA))
        assert gap.min() > 60


def test_edges_are_antialiased():
    for shape in SHAPES:
        scene = next(s for s in SCENES if s.shape == shape)
        pose = poses(scene, "still")[0]
        frame = draw_frames(scene, "still")[0].astype(float)
        behind = scene.background.astype(float)
        share = ((frame - behind) @ LUMA) / ((np.array(scene.colour) - behind) @ LUMA)
        assert share.min() >= -0.02
        assert share.max() == pytest.approx(1.0, abs=0.02)
        between = ((share > 0.1) & (share < 0.9)).sum()
        assert between > pose.radius  # a ring of partly covered pixels


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_cover_their_area(shape):
    scene = next(s for s in SCENES if s.shape == shape)
    pose = poses(scene, "still")[0]
    behind = scene.background.astype(float)
    frame = draw_frames(scene, "still")[0].astype(float)
    area = (((frame - behind) @ LUMA) / ((np.array(scene.colour) - behind) @ LUMA)).sum() / pose.radius**2
    expected = {
        "disc": math.pi,
        "ring": math.pi * (1 - 0.55**2),
        "square": 2.0,
        "triangle": 3 * math.sqrt(3) / 4,
        "star": 5 * 0.42 * math.sin(math.pi / 5),
    }[shape]
    assert area == pytest.approx(expected, rel=0.1)


def test_variety():
    scenes = [random_scene(np.random.default_rng(1000 + number)) for number in range(150)]
    assert {scene.shape for scene in scenes} == set(SHAPES)
    assert {scene.fps for scene in scenes} == {15, 24, 25, 30}
    for height, width in (scene.background.shape[:2] for scene in scenes):
        assert 96 <= height <= 160 and height % 2 == 0 and width % 2 == 0
        assert 4 / 3 - 1 / height <= width / height <= 16 / 9 + 1 / height
    assert all(24 <= scene.num_frames <= 60 for scene in scenes)
    assert len({scene.background.shape for scene in scenes}) > 100
    assert len({scene.num_frames for scene in scenes}) > 25
    assert len({scene.colour for scene in scenes}) == 150
    darker = [scene.background.mean() < np.mean(scene.colour) for scene in scenes]
    assert 40 < sum(darker) < 110
    plain = [len(np.unique(scene.background @ np.array([65536, 256, 1]))) for scene in scenes]
    assert 150 / len(BACKGROUNDS) / 3 < plain.count(1) < 3 * 150 / len(BACKGROUNDS)
    assert plain.count(2) > 20  # stripes and checkers
    assert sum(colours > 50 for colours in plain) > 20  # gradients and noise


def test_one_generator_one_scene_and_no_global_randomness():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    first, second = (random_scene(np.random.default_rng(3)) for _ in range(2))
    other = random_scene(np.random.default_rng(4))
    assert np.array_equal(np.random.get_state()[1], before)
    assert np.array_equal(draw_frames(first, "growing"), draw_frames(second, "growing"))
    assert not np.array_equal(first.background, other.background)
