"""What ``tools/predict.py`` does: weights and videos in, a table and files out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from uniformer_video.drawing.bars import shows_unicode, terminal_width
from uniformer_video.engine import predict_output as output
from uniformer_video.engine import setup
from uniformer_video.engine.device import hardware_name
from uniformer_video.engine.predict_inputs import Input, find_inputs
from uniformer_video.engine.predict_places import STDOUT, LabelledPlaces, check_places
from uniformer_video.engine.prediction import Prediction
from uniformer_video.engine.predictor import Predictor
from uniformer_video.engine.timeline import Timeline
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.paths import make_output_dir
from uniformer_video.video.reader import DecodeError

SOME_FAILED = 1
"""Exit code where videos could not be read."""


@dataclass(frozen=True)
class Options:
    """What a user asks for; see ``tools/predict.py --help``.

    Attributes:
        weights: see ``predict_config.find_network``.
        inputs: see ``predict_inputs.find_inputs``.
        cfg: a recipe, or empty.
        top: classes shown of each video.
        json: file, ``-``, or empty.
        csv: file, ``-``, or empty.
        video: file or folder for labelled videos, or empty.
        features: ``.npz``, ``.npy`` or a folder, or empty.
        stream: whether a window slides along each video.
        window: its seconds, or None.
        stride: seconds between windows, or None.
        out: folder of the timelines.
        settings: of ``Predictor.from_checkpoint``: device, clips, crops, batch, workers, threshold.
    """

    weights: str
    inputs: Sequence[str]
    cfg: str = ""
    top: int = 5
    json: str = ""
    csv: str = ""
    video: str = ""
    features: str = ""
    stream: bool = False
    window: float | None = None
    stride: float | None = None
    out: str = "."
    settings: dict = field(default_factory=dict)


def run_predict(options: Options) -> int:
    """Predict, print and write as asked, and return the exit code: 0, or 1 where videos could not be read.

    Raises:
        UserError: weights, inputs or places for results that cannot be used, before any video is read.
    """
    videos = find_inputs(options.inputs, sys.stdin)
    _check_places(options, videos)
    predictor = Predictor.from_checkpoint(options.weights, cfg=options.cfg or None, **options.settings)
    setup.fit_threads(1, predictor.device)
    if options.features and not predictor.tells_features:
        raise UserError(f"--features: {predictor.cfg.MODEL.MODEL_NAME} has no forward_pooled, which tells its features")
    clips, crops = predictor.cfg.TEST.NUM_ENSEMBLE_VIEWS, predictor.cfg.TEST.NUM_SPATIAL_CROPS
    views = f"{crops} crops of each window" if options.stream else f"{clips} clips x {crops} crops"
    count = f"{len(videos)} video" + "s" * (len(videos) > 1)
    network = f"{predictor.cfg.MODEL.MODEL_NAME}, {predictor.num_classes} classes"
    _say(f"{predictor.source}: {network}; {count}, {views}; on {hardware_name(predictor.device)}")
    run = _Run(options, predictor, videos)
    return run.stream() if options.stream else run.predict()


def _check_places(options: Options, videos: Sequence[Input]) -> None:
    """Refuse what could not be written, or what this command reads, before the work is done."""
    check_places(
        json=options.json,
        csv=options.csv,
        features=options.features,
        video=options.video,
        # A word on the command line may be a list, with or without its @.
        read=[options.weights, options.cfg, *options.inputs, *(word.removeprefix("@") for word in options.inputs)],
        videos=[video.path for video in videos],
    )
    if options.stream:
        make_output_dir(options.out, "--out")


def _say(line: str) -> None:
    output.print_lines([line], sys.stderr)


class _Run:
    """One run of the command over its videos."""

    def __init__(self, options: Options, predictor: Predictor, videos: Sequence[Input]) -> None:
        self.options, self.predictor, self.videos = options, predictor, videos
        self.names = output.output_names([video.path for video in videos])
        self.places = LabelledPlaces(options.video, [video.path for video in videos])
        # Standard output is for the data where a program asks for them there.
        self.screen: TextIO = sys.stderr if STDOUT in (options.json, options.csv) else sys.stdout
        self.width = terminal_width(self.screen)
        self.unicode = shows_unicode(self.screen)
        self.failed = 0

    def predict(self) -> int:
        """Predict every video; return the exit code."""
        options, results = self.options, []
        features = []
        right = 0
        found_all = self.predictor.predict_many([video.path for video in self.videos])
        for video, name, found in zip(self.videos, self.names, found_all, strict=True):
            results.append((video, found))
            if isinstance(found, DecodeError):
                self._fail(found)
                continue
            output.print_lines(
                output.table(video, found, options.top, self.width, unicode=self.unicode) + [""], self.screen
            )
            right += bool(video.labels) and not found.multi_label and output.is_right(found, video.labels)
            if options.features:
                features.append((video.path, found.features.numpy()))
            if options.video:
                self._draw(found, name)
        self._summary(results, right)
        self._write(results)
        if options.features:
            output.write_features(features, options.features)
        return SOME_FAILED if self.failed else 0

    def stream(self) -> int:
        """Slide a window along every video; return the exit code."""
        from uniformer_video.drawing.timeline import draw_timeline

        options = self.options
        for video, name in zip(self.videos, self.names, strict=True):
            try:
                found = self.predictor.stream(video.path, window=options.window, stride=options.stride)
            except DecodeError as error:
                self._fail(error)
                output.write_out(
                    output.json_text({"path": video.path, "windows": [], "segments": [], "error": error.cause}),
                    os.path.join(options.out, f"{name}.timeline.json"),
                )
                continue
            if found.error:
                self._fail(DecodeError(found.path, f"{found.error}; the timeline ends at {found.ends[-1]:.1f} s"))
            files = [os.path.join(options.out, f"{name}.timeline{ending}") for ending in (".json", ".png")]
            output.write_out(output.json_text(found.as_dict(options.top)), files[0])
            draw_timeline(
                found.edges,
                found.scores.numpy(),
                files[1],
                self.predictor.class_names or (),
                title=f"{os.path.basename(video.path)}   windows of {found.window_seconds:.2f} s",
                threshold=found.threshold if found.multi_label else None,
                error=found.error,
            )
            lines = output.timeline_table(found, self.width, unicode=self.unicode)
            output.print_lines([*lines, f"  {files[0]}  {files[1]}", ""], self.screen)
            if options.video:
                self._draw(found, name)
        return SOME_FAILED if self.failed else 0

    def _fail(self, error: DecodeError) -> None:
        self.failed += 1
        _say(f"cannot be read: {error}")

    def _draw(self, found: Prediction | Timeline, name: str) -> None:
        from uniformer_video.engine.label_video import write_labelled

        target = self.places.place(name)
        try:
            write_labelled(found, target, self.predictor.opener)
        except DecodeError as error:
            # The views may all lie before the fault.
            self._fail(DecodeError(error.path, f"{error.cause}; {target} is not written"))

    def _summary(self, results: Sequence[tuple[Input, Prediction | DecodeError]], right: int) -> None:
        told = sum(bool(video.labels) and isinstance(found, Prediction) for video, found in results)
        if told and not self.predictor.multi_label:
            share = f"{100 * right / told:.2f} %"
            output.print_lines([f"{right} of {told} videos with a label are right ({share})"], self.screen)
        if self.failed:
            _say(f"{self.failed} of {len(results)} videos could not be read")

    def _write(self, results: Sequence[tuple[Input, Prediction | DecodeError]]) -> None:
        options, test = self.options, self.predictor.cfg.TEST
        if options.json:
            content = {
                "weights": self.predictor.source,
                "classes": self.predictor.num_classes,
                "multi_label": self.predictor.multi_label,
                **({"threshold": self.predictor.threshold} if self.predictor.multi_label else {}),
                "clips": test.NUM_ENSEMBLE_VIEWS,
                "crops": test.NUM_SPATIAL_CROPS,
                "videos": [output.json_entry(video, found, options.top) for video, found in results],
            }
            output.write_out(output.json_text(content), options.json)
        if options.csv:
            output.write_out(output.csv_text(results, options.top), options.csv)
