"""RandAugment in timm's notation, with one draw for all frames of a clip.

From Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space" (arXiv:1909.13719),
with timm's set of operations, strengths and notation, in which recipes are published.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from uniformer_video.runtime.errors import ConfigError
from uniformer_video.transforms import operations
from uniformer_video.transforms.spatial import Box, cut

MAX_LEVEL = 10.0
NOTATION = "rand[-m<magnitude>][-n<layers>][-mstd<deviation>][-mmax<limit>][-p<probability>][-w0][-inc<0|1>]"
INTERPOLATIONS = (*operations.RESAMPLING, "random")
_RANDOM_INTERPOLATIONS = ("bilinear", "bicubic")

Argument = Callable[[float, bool, np.random.Generator], float]
"""How a level in [0, 10] becomes an operation's argument: (level, increasing, generator) -> argument."""


def _either_sign(limit: float) -> Argument:
    def argument(level: float, increasing: bool, generator: np.random.Generator) -> float:
        return _random_sign(generator) * (level / MAX_LEVEL) * limit

    return argument


def _enhance(level: float, increasing: bool, generator: np.random.Generator) -> float:
    if increasing:
        return max(0.1, 1.0 + _random_sign(generator) * (level / MAX_LEVEL) * 0.9)
    return 0.1 + (level / MAX_LEVEL) * 1.8


def _posterize_bits(level: float, increasing: bool, generator: np.random.Generator) -> int:
    bits = min(4, int((level / MAX_LEVEL) * 4))
    return 4 - bits if increasing else bits


def _solarize_threshold(level: float, increasing: bool, generator: np.random.Generator) -> int:
    threshold = min(256, int((level / MAX_LEVEL) * 256))
    return 256 - threshold if increasing else threshold


def _solarize_addend(level: float, increasing: bool, generator: np.random.Generator) -> int:
    return min(128, int((level / MAX_LEVEL) * 110))


def _random_sign(generator: np.random.Generator) -> float:
    return -1.0 if generator.random() < 0.5 else 1.0


@dataclass(frozen=True)
class _Operation:
    """One row of the table: what to do, how strong, whether pixels are interpolated, and its share under ``w0``.

    ``reach`` is how far away, in pixels, what a pixel becomes depends on others; None: on the whole frame.
    """

    function: Callable[..., Tensor]
    argument: Argument | None
    interpolated: bool
    weight: float
    reach: int | None = None


OPERATIONS: dict[str, _Operation] = {
    "AutoContrast": _Operation(operations.auto_contrast, None, False, 0.025),
    "Equalize": _Operation(operations.equalize, None, False, 0.005),
    "Invert": _Operation(operations.invert, None, False, 0.0, 0),
    "Rotate": _Operation(operations.rotate, _either_sign(30.0), True, 0.3),
    "Posterize": _Operation(operations.posterize, _posterize_bits, False, 0.0, 0),
    "Solarize": _Operation(operations.solarize, _solarize_threshold, False, 0.005, 0),
    "SolarizeAdd": _Operation(operations.solarize_add, _solarize_addend, False, 0.005, 0),
    "Color": _Operation(operations.color, _enhance, False, 0.025, 0),
    "Contrast": _Operation(operations.contrast, _enhance, False, 0.005),
    "Brightness": _Operation(operations.brightness, _enhance, False, 0.005, 0),
    "Sharpness": _Operation(operations.sharpness, _enhance, False, 0.025, 1),
    "ShearX": _Operation(operations.shear_x, _either_sign(0.3), True, 0.2),
    "ShearY": _Operation(operations.shear_y, _either_sign(0.3), True, 0.2),
    "TranslateXRel": _Operation(operations.translate_x, _either_sign(0.45), True, 0.1),
    "TranslateYRel": _Operation(operations.translate_y, _either_sign(0.45), True, 0.1),
}


@dataclass(frozen=True)
class Step:
    """One drawn operation: its name in :data:`OPERATIONS`, and what to call it with (None: it takes no such thing)."""

    name: str
    argument: float | None = None
    interpolation: str | None = None

    def __call__(self, frames: Tensor, keep: Box | None = None) -> Tensor:
        """Apply to uint8 frames ``(T, H, W, 3)``; same shape and type back, or the part ``keep`` of it."""
        given = [value for value in (self.argument, self.interpolation) if value is not None]
        return OPERATIONS[self.name].function(frames, *given, keep=keep)

    def needs(self, keep: Box, height: int, width: int) -> Box:
        """Return which part of frames of that size must be known for the part ``keep`` of the result."""
        reach = OPERATIONS[self.name].reach
        if reach is None:
            return Box(0, 0, height, width)
        top, left = max(keep.top - reach, 0), max(keep.left - reach, 0)
        bottom, right = min(keep.top + keep.height + reach, height), min(keep.left + keep.width + reach, width)
        return Box(top, left, bottom - top, right - left)


def apply_steps(frames: Tensor, steps: Sequence[Step], keep: Box) -> Tensor:
    """Apply steps one after the other and return a part of the result, with little done outside that part.

    Args:
        frames: uint8 ``(T, H, W, 3)``.
        steps: what is done.
        keep: the part.

    Returns:
        uint8 ``(T, keep.height, keep.width, 3)``, what a cut after all steps gives.
    """
    parts = [keep]
    for step in reversed(steps):
        parts.append(step.needs(parts[-1], *frames.shape[1:3]))
    known = parts.pop()
    frames = cut(frames, known)
    for step in steps:
        part = parts.pop()
        frames = step(frames, Box(part.top - known.top, part.left - known.left, part.height, part.width))
        known = part
    return frames


@dataclass(frozen=True)
class RandAugment:
    """Random operations on a whole clip; callable on ``(frames, generator)``.

    Args:
        magnitude: level M of every operation, 0 to ``max_magnitude``.
        layers: how many operations are chosen, one after the other (with repetition unless ``weighted``).
        magnitude_std: deviation of normal noise on the level; above 100 the level is uniform in [0, ``magnitude``].
        max_magnitude: levels are clipped to [0, ``max_magnitude``]; above 10 the operations' ranges are exceeded.
        probability: chance that a chosen operation is applied.
        weighted: choose by timm's weights "w0" (mostly rotation and shear), without repetition.
        increasing: operations that else grow weaker or run through neutral as the level grows (posterize, solarize,
            colour, contrast, brightness, sharpness) grow stronger instead, in either direction.
        interpolation: of the geometric operations: "nearest", "bilinear", "bicubic", or "random", which draws one of
            the last two for each of them.
    """

    magnitude: float = MAX_LEVEL
    layers: int = 2
    magnitude_std: float = 0.0
    max_magnitude: float = MAX_LEVEL
    probability: float = 0.5
    weighted: bool = False
    increasing: bool = False
    interpolation: str = "bicubic"

    @classmethod
    def from_string(cls, text: str, interpolation: str = "bicubic") -> RandAugment:
        """Read timm's notation, for example ``rand-m7-n4-mstd0.5-inc1``; plain ``rand`` is ``rand-m10-n2``.

        Args:
            text: ``rand`` and parts joined by hyphens, in any order: m magnitude, n layers, mstd deviation of the
                magnitude, mmax its limit, p probability, w choice weights (only 0), inc 1 for increasing variants.
            interpolation: "nearest", "bilinear", "bicubic" or "random".

        Returns:
            The transform.

        Raises:
            ConfigError: something in ``text`` (``AUG.AA_TYPE``) or ``interpolation`` (``AUG.INTERPOLATION``) is not
                understood or out of range.
        """
        if interpolation not in INTERPOLATIONS:
            known = ", ".join(sorted(INTERPOLATIONS))
            raise ConfigError(f"AUG.INTERPOLATION: unknown interpolation {interpolation!r}; known: {known}")
        return cls(**_parse(text), interpolation=interpolation)

    def draw(self, generator: np.random.Generator) -> list[Step]:
        """Draw what is done to one clip: 0 to ``layers`` steps, in order."""
        names = list(OPERATIONS)
        if self.weighted:
            weights = [operation.weight for operation in OPERATIONS.values()]
            chosen = generator.choice(len(names), size=self.layers, replace=False, p=np.divide(weights, sum(weights)))
        else:
            chosen = generator.integers(len(names), size=self.layers)
        return [self._step(names[index], generator) for index in chosen if generator.random() < self.probability]

    def __call__(self, frames: Tensor, generator: np.random.Generator) -> Tensor:
        """Augment uint8 frames ``(T, H, W, 3)``, all with the same draw; same shape and type back."""
        for step in self.draw(generator):
            frames = step(frames)
        return frames

    def _step(self, name: str, generator: np.random.Generator) -> Step:
        operation = OPERATIONS[name]
        level = self._level(generator)
        argument = operation.argument(level, self.increasing, generator) if operation.argument else None
        interpolation = None
        if operation.interpolated:
            interpolation = self.interpolation
            if interpolation == "random":
                interpolation = str(generator.choice(_RANDOM_INTERPOLATIONS))
        return Step(name, argument, interpolation)

    def _level(self, generator: np.random.Generator) -> float:
        level = self.magnitude
        if self.magnitude_std > 100:
            level = generator.uniform(0.0, level)
        elif self.magnitude_std > 0:
            level = generator.normal(level, self.magnitude_std)
        return min(max(level, 0.0), self.max_magnitude)


_NUMBER = re.compile(r"([a-z]+)([0-9]+(?:\.[0-9]+)?)")
_PARTS: dict[str, str] = {
    "m": "magnitude",
    "n": "layers",
    "mstd": "magnitude_std",
    "mmax": "max_magnitude",
    "p": "probability",
    "w": "weighted",
    "inc": "increasing",
}


def _parse(text: str) -> dict[str, float]:
    """Return the constructor arguments that ``text`` names."""
    head, *parts = text.split("-")
    if head != "rand":
        raise _error(text, f"it must begin with 'rand', not {head!r}")
    given: dict[str, float] = {}
    for part in parts:
        match = _NUMBER.fullmatch(part)
        if match is None or match[1] not in _PARTS:
            raise _error(text, f"unknown part {part!r}")
        name, value = _PARTS[match[1]], float(match[2])
        if name in given:
            raise _error(text, f"part {part!r} is the second of its kind")
        allowed = _fault(name, value)
        if allowed:
            raise _error(text, f"part {part!r} is out of range: {allowed}")
        given[name] = value
    limit = given.get("max_magnitude", MAX_LEVEL)
    if given.get("magnitude", 0.0) > limit:
        raise _error(text, f"part 'm{given['magnitude']:g}' is out of range: 0 to {limit:g}, the limit that mmax sets")
    return _typed(text, given)


def _fault(name: str, value: float) -> str:
    """Return what is allowed where ``value`` is not, else an empty string."""
    if name == "layers" and (value != int(value) or value < 1):
        return "a whole number of operations, 1 or more"
    if name == "probability" and value > 1:
        return "0 to 1"
    if name == "max_magnitude" and value == 0:
        return "above 0"
    if name == "weighted" and value != 0:
        return "only the weights w0 are known"
    if name == "increasing" and value not in (0, 1):
        return "0 or 1"
    return ""


def _typed(text: str, given: dict[str, float]) -> dict[str, float]:
    typed = dict(given)
    if "layers" in given:
        typed["layers"] = int(given["layers"])
    if "increasing" in given:
        typed["increasing"] = bool(given["increasing"])
    if "weighted" in given:
        typed["weighted"] = True
        choices = sum(operation.weight > 0 for operation in OPERATIONS.values())
        if typed.get("layers", 2) > choices:
            raise _error(text, f"w0 chooses without repetition from {choices} operations, n must be at most {choices}")
    if "max_magnitude" in given and "magnitude" not in given:
        typed["magnitude"] = min(MAX_LEVEL, given["max_magnitude"])
    return typed


def _error(text: str, fault: str) -> ConfigError:
    return ConfigError(
        f"AUG.AA_TYPE {text!r}: {fault}; the notation is {NOTATION}, for example rand-m7-n4-mstd0.5-inc1"
    )
