"""The weights the authors published: names, addresses, hashes, and what each was trained and tested on."""

from __future__ import annotations

from dataclasses import dataclass

_HUB = "https://huggingface.co/"
_SUFFIX = ".pth"

LABEL_SETS = {
    "Kinetics-400": "kinetics400",
    "Kinetics-600": "kinetics600",
    "Something-Something V1": "ssv1",
    "Something-Something V2": "ssv2",
}
"""Names of label sets (``datasets/label_sets.py``) by what weights were trained on; ImageNet-1K has none here."""

_CLASSES = {"ImageNet-1K": 1000, "Kinetics-400": 400, "Kinetics-600": 600}
_SOMETHING_CLASSES = 174


@dataclass(frozen=True)
class ZooEntry:
    """One published weight file.

    Attributes:
        name: by which a configuration asks for it.
        url: where it lies; None: not known.
        sha256: of the file, hexadecimal; None: not known.
        bytes: its size; None: not known.
        network: key of ``models.published.NETWORKS``; its head has the classes of ``trained_on``.
        trained_on: the data set, in its own spelling.
        frames: of a clip; 1 for an image network.
        stride: source frames from one frame of a clip to the next; None: the clip spans the video, or is an image.
        sampling: "dense", "segments" or "image".
        clips: test views along time.
        crops: test views across each clip.
        top1: published top-1 accuracy with these views, percent; None: not known.
        crop_size: side of a video's view, pixels.
    """

    name: str
    url: str | None
    sha256: str | None
    bytes: int | None
    network: str
    trained_on: str
    frames: int = 1
    stride: int | None = None
    sampling: str = "image"
    clips: int = 1
    crops: int = 1
    top1: float | None = None
    crop_size: int = 224

    @property
    def label_set(self) -> str | None:
        """Return the name of the label set of the head's outputs; None where the package has none."""
        return LABEL_SETS.get(self.trained_on)

    @property
    def classes(self) -> int:
        """Return the outputs of the head."""
        return _CLASSES.get(self.trained_on, _SOMETHING_CLASSES)

    @property
    def file_name(self) -> str:
        """Return the name of the file, here and on the web."""
        return self.name + _SUFFIX

    @property
    def frames_text(self) -> str:
        """Return the frames of a clip as recipes have it: ``16x4`` (frames x stride), ``16``, or ``image``."""
        if self.sampling == "image":
            return "image"
        return f"{self.frames}x{self.stride}" if self.stride else str(self.frames)

    @property
    def views_text(self) -> str:
        """Return the test views: ``4x1`` (clips x crops), or ``1`` for an image."""
        return "1" if self.sampling == "image" else f"{self.clips}x{self.crops}"


def _image(name: str, where: str, network: str, sha256: str | None = None, size: int | None = None) -> ZooEntry:
    return ZooEntry(name, _address(where, name), sha256, size, network, "ImageNet-1K")


def _kinetics(
    name: str,
    where: str,
    *clip: int,
    top1: float,
    network: str,
    sha256: str | None = None,
    size: int | None = None,
    light: bool = False,
) -> ZooEntry:
    frames, stride = clip
    data = "Kinetics-600" if "_k600" in name else "Kinetics-400"
    # The light networks were trained and tested on one view of frames from the whole video.
    sampling, clips, crop = ("segments", 1, 160) if light else ("dense", 4, 224)
    facts = (sha256, size, network, data, frames, stride, sampling, clips, 1, top1, crop)
    return ZooEntry(name, _address(where, name), *facts)


def _something(
    name: str, where: str, frames: int, top1: float, network: str, sha256: str, size: int | None
) -> ZooEntry:
    data = "Something-Something V" + ("1" if "_sthv1_" in name else "2")
    return ZooEntry(name, _address(where, name), sha256, size, network, data, frames, None, "segments", 1, 3, top1)


def _address(where: str, name: str) -> str | None:
    return f"{_HUB}{where}/resolve/main/{name}{_SUFFIX}" if where else None


_FIRST, _IMAGE, _VIDEO = "Andy1621/uniformer", "Sense-X/uniformer_image", "Sense-X/uniformer_video"
_LIGHT, _NOWHERE = "Andy1621/uniformer_light", ""

_ENTRIES = (
    _image(
        "uniformer_small_in1k",
        _FIRST,
        "image_small",
        "fd192c31f8bd77670de8f171111bd51f56fd87e6aea45043ab2edc181e1fa775",
        86314461,
    ),
    _image("uniformer_small_plus_in1k", _IMAGE, "image_small_plus"),
    _image(
        "uniformer_base_in1k",
        _IMAGE,
        "image_base",
        "82c01015818cb897b00a29352043053df53ce4c02c2d012226b3a8a12ccb60eb",
        199378501,
    ),
    _image("uniformer_xxs_128_in1k", _NOWHERE, "image_xxs_128"),
    # The same network at another resolution.
    _image("uniformer_xxs_160_in1k", _LIGHT, "image_xxs_128"),
    _image("uniformer_xs_192_in1k", _NOWHERE, "image_xs_192"),
    _kinetics("uniformer_small_k400_16x4", _NOWHERE, 16, 4, top1=80.8, network="video_small"),
    _kinetics(
        *("uniformer_small_k400_16x8", _VIDEO, 16, 8),
        top1=80.8,
        network="video_small",
        sha256="d5fd7b0c49ee6a5422ef5d0c884d962c742003bfbd900747485eb99fa269d0db",
        size=85735325,
    ),
    _kinetics(
        *("uniformer_base_k400_16x4", _FIRST, 16, 4),
        top1=82.0,
        network="video_base",
        sha256="a36e08ecff0a2b11020d6e88046353f80fdeb10b40fe167f2fbc0c1d976fb873",
        size=199525573,
    ),
    _kinetics(
        *("uniformer_base_k400_32x4", _VIDEO, 32, 4),
        top1=82.9,
        network="video_base",
        sha256="b432450566cdc4f50222e4851b5d304bba4444a699cdbb43fa529ceb18ae1f8e",
        size=199525573,
    ),
    _kinetics("uniformer_xxs16_160_k400", _LIGHT, 16, 8, top1=75.1, network="video_xxs", light=True),
    _kinetics("uniformer_small_k600_16x4", _NOWHERE, 16, 4, top1=82.8, network="video_small"),
    _kinetics(
        *("uniformer_small_k600_16x8", _VIDEO, 16, 8),
        top1=82.7,
        network="video_small",
        sha256="2a9143a63691c442b23f912ed3489e5800fc5916fb7aa1b25322ad5da2466c6f",
        size=86145693,
    ),
    _kinetics("uniformer_base_k600_16x4", _NOWHERE, 16, 4, top1=84.0, network="video_base"),
    _kinetics(
        *("uniformer_base_k600_32x4", _VIDEO, 32, 4),
        top1=84.5,
        network="video_base",
        sha256="d44685e1d12e5aa413032e7719a8be45b95a19da4e7f76ac0e811f9a6f4825ae",
        size=199935941,
    ),
    _something(
        *("uniformer_small_sthv1_16_prek600", _VIDEO, 16, 57.6, "video_small"),
        *("9a4dbb1e6e2adeb817959edcfbd43cdbb41c7e5c1393f6a3335d0a089d4ba424", None),
    ),
    _something(
        *("uniformer_base_sthv1_32_prek600", _VIDEO, 32, 61.0, "video_base"),
        *("8da7f948d7fcc72444dd3783ff12fb18e997d78acc3d70135d14687433448090", 199061829),
    ),
    _something(
        *("uniformer_small_sthv2_16_prek600", _VIDEO, 16, 69.4, "video_small"),
        *("6b085f96980edf491386893902a5a304a63f4da395d528bcdeef6e7464bd160f", 85271581),
    ),
    _something(
        *("uniformer_base_sthv2_32_prek600", _VIDEO, 32, 71.2, "video_base"),
        *("b7a74408ed230e9671d30da2f596bef84900aaaa325a5793f6cb3ba25f721eae", 199061829),
    ),
)

ZOO: dict[str, ZooEntry] = {entry.name: entry for entry in _ENTRIES}
"""Published weights by name."""
