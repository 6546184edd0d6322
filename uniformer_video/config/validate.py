"""What must hold between keys. Each check names the keys, their values and the way out."""

from __future__ import annotations

from collections.abc import Callable

from fvcore.common.config import CfgNode

from uniformer_video.runtime.errors import ConfigError

CHECKS: list[Callable[[CfgNode], None]] = []


def validate(cfg: CfgNode) -> None:
    """Run every check on a configuration.

    Raises:
        ConfigError: at the first contradiction between keys.
    """
    for check in CHECKS:
        check(cfg)


def _check(function: Callable[[CfgNode], None]) -> Callable[[CfgNode], None]:
    CHECKS.append(function)
    return function


@_check
def _something_to_do(cfg: CfgNode) -> None:
    if not (cfg.TRAIN.ENABLE or cfg.TEST.ENABLE):
        raise ConfigError("TRAIN.ENABLE and TEST.ENABLE are both False: nothing to do; set one of them to True")


@_check
def _shards(cfg: CfgNode) -> None:
    if cfg.SHARD_ID >= cfg.NUM_SHARDS:
        raise ConfigError(
            f"SHARD_ID is {cfg.SHARD_ID} of NUM_SHARDS {cfg.NUM_SHARDS}; shards are numbered from 0 to NUM_SHARDS - 1"
        )


@_check
def _separator(cfg: CfgNode) -> None:
    if cfg.DATA.PATH_LABEL_SEPARATOR == "":
        raise ConfigError(
            "DATA.PATH_LABEL_SEPARATOR is empty; set the character between path and label, such as ' ' or ','"
        )


@_check
def _scales(cfg: CfgNode) -> None:
    low, high = cfg.DATA.TRAIN_JITTER_SCALES
    if low > high:
        raise ConfigError(f"DATA.TRAIN_JITTER_SCALES is [{low}, {high}]: the first must not be above the second")
    area = cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE
    short_side_jitter = not (cfg.AUG.ENABLE and area)
    if short_side_jitter and low < cfg.DATA.TRAIN_CROP_SIZE:
        raise ConfigError(
            f"DATA.TRAIN_JITTER_SCALES begins at {low}, below DATA.TRAIN_CROP_SIZE {cfg.DATA.TRAIN_CROP_SIZE}: the "
            "crop would not fit; raise the one or lower the other"
        )
    if area and (len(area) != 2 or not 0 < area[0] <= area[1]):
        raise ConfigError(
            f"DATA.TRAIN_JITTER_SCALES_RELATIVE is {area}; allowed: [] or [low, high] with 0 < low <= high <= 1"
        )
    low_aspect, high_aspect = cfg.DATA.TRAIN_JITTER_ASPECT_RELATIVE
    if low_aspect > high_aspect:
        aspects = f"[{low_aspect:g}, {high_aspect:g}]"
        raise ConfigError(f"DATA.TRAIN_JITTER_ASPECT_RELATIVE is {aspects}: the first must not be above the second")


@_check
def _network(cfg: CfgNode) -> None:
    widths, head = cfg.UNIFORMER.EMBED_DIM, cfg.UNIFORMER.HEAD_DIM
    for stage in (2, 3):
        if widths[stage] % head:
            raise ConfigError(
                f"UNIFORMER.EMBED_DIM[{stage}] is {widths[stage]}, not a multiple of UNIFORMER.HEAD_DIM {head}: "
                "attention needs whole heads"
            )
    if any(k % 2 == 0 for k in cfg.UNIFORMER.LOCAL_KERNEL):
        raise ConfigError(
            f"UNIFORMER.LOCAL_KERNEL is {cfg.UNIFORMER.LOCAL_KERNEL}; allowed: odd numbers, such as [3, 5, 5]"
        )
    if sum(cfg.UNIFORMER.DEPTH) == 0:
        raise ConfigError("UNIFORMER.DEPTH has no block in any stage; the small network has [3, 4, 8, 3]")


@_check
def _positions(cfg: CfgNode) -> None:
    if not cfg.TRAIN.ENABLE:
        return
    clips, frames = cfg.TRAIN.BATCH_SIZE * cfg.AUG.NUM_SAMPLE, cfg.DATA.NUM_FRAMES
    # The last batch norm sees a 32nd of the crop in both directions, and half of the frames, or
    # all of them in an image network.
    times = frames if cfg.UNIFORMER.IMAGE else (frames + 1) // 2
    if clips * times * (cfg.DATA.TRAIN_CROP_SIZE // 32) ** 2 < 2:
        raise ConfigError(
            f"TRAIN.BATCH_SIZE {cfg.TRAIN.BATCH_SIZE} with DATA.NUM_FRAMES {frames} and DATA.TRAIN_CROP_SIZE "
            f"{cfg.DATA.TRAIN_CROP_SIZE} leaves the last batch norm a single position, from which no statistics can be "
            "had; raise one of them"
        )


@_check
def _image_networks(cfg: CfgNode) -> None:
    if cfg.UNIFORMER.AUX_HEAD and cfg.TRAIN.ENABLE:
        raise ConfigError(
            "UNIFORMER.AUX_HEAD is True, but that head is trained by token labelling, which needs a label for each "
            "token; set UNIFORMER.AUX_HEAD False or TRAIN.ENABLE False"
        )


@_check
def _recomputation(cfg: CfgNode) -> None:
    if not cfg.MODEL.USE_CHECKPOINT:
        return
    numbers, depths = cfg.MODEL.CHECKPOINT_NUM, cfg.UNIFORMER.DEPTH
    if not any(numbers):
        raise ConfigError(
            "MODEL.USE_CHECKPOINT is True, but MODEL.CHECKPOINT_NUM [0, 0, 0, 0] recomputes no block; set for example "
            f"MODEL.CHECKPOINT_NUM {depths}"
        )
    if any(n > d for n, d in zip(numbers, depths, strict=True)):
        raise ConfigError(f"MODEL.CHECKPOINT_NUM {numbers} asks for more blocks than UNIFORMER.DEPTH {depths} has")


@_check
def _labels(cfg: CfgNode) -> None:
    loss, several = cfg.MODEL.LOSS_FUNC, cfg.DATA.MULTI_LABEL
    if several is True and loss not in ("bce_logit", "auto"):
        raise ConfigError(
            f"DATA.MULTI_LABEL is True, but MODEL.LOSS_FUNC {loss} is for one label a video; "
            "set MODEL.LOSS_FUNC bce_logit"
        )
    weights, classes = cfg.MODEL.CLASS_WEIGHTS, cfg.MODEL.NUM_CLASSES
    if isinstance(weights, list):
        if classes != "auto" and len(weights) != classes:
            raise ConfigError(
                f"MODEL.CLASS_WEIGHTS has {len(weights)} weights, but MODEL.NUM_CLASSES is {classes}; "
                "give one for each class"
            )
        if not any(weights):
            raise ConfigError("MODEL.CLASS_WEIGHTS are all 0: nothing would be trained; set one of them above 0")


@_check
def _mixing(cfg: CfgNode) -> None:
    if not cfg.MIXUP.ENABLE:
        return
    if cfg.MODEL.LOSS_FUNC == "cross_entropy":
        raise ConfigError(
            "MIXUP.ENABLE is True, but MODEL.LOSS_FUNC cross_entropy takes no mixed labels; "
            "set MODEL.LOSS_FUNC soft_cross_entropy or MIXUP.ENABLE False"
        )
    if cfg.MIXUP.ALPHA == 0 and cfg.MIXUP.CUTMIX_ALPHA == 0:
        raise ConfigError("MIXUP.ENABLE is True, but MIXUP.ALPHA and MIXUP.CUTMIX_ALPHA are both 0; set one above 0")


@_check
def _schedule(cfg: CfgNode) -> None:
    solver = cfg.SOLVER
    if solver.LR_POLICY == "steps_with_relative_lrs":
        steps, rates = solver.STEPS, solver.LRS
        if not steps or len(steps) != len(rates) or steps[0] != 0 or any(a >= b for a, b in zip(steps, steps[1:])):  # noqa: B905
            raise ConfigError(
                f"SOLVER.STEPS {steps} and SOLVER.LRS {rates} must be of one length, STEPS rising from 0; "
                "for example STEPS [0, 20, 30] with LRS [1, 0.1, 0.01]"
            )
    if solver.CLIP_GRAD_L2NORM is not None and solver.CLIP_GRAD_VAL is not None:
        raise ConfigError("SOLVER.CLIP_GRAD_L2NORM and SOLVER.CLIP_GRAD_VAL are both set; set one of them to null")
    if solver.NESTEROV and (solver.MOMENTUM == 0 or solver.DAMPENING != 0):
        raise ConfigError("SOLVER.NESTEROV needs SOLVER.MOMENTUM above 0 and SOLVER.DAMPENING 0")


@_check
def _restarts(cfg: CfgNode) -> None:
    if cfg.SOLVER.COSINE_RESTART_EPOCHS and cfg.SOLVER.LR_POLICY != "cosine":
        raise ConfigError(
            f"SOLVER.COSINE_RESTART_EPOCHS is {cfg.SOLVER.COSINE_RESTART_EPOCHS:g}, but SOLVER.LR_POLICY is "
            f"{cfg.SOLVER.LR_POLICY}; set SOLVER.LR_POLICY cosine or SOLVER.COSINE_RESTART_EPOCHS 0"
        )


@_check
def _accumulation(cfg: CfgNode) -> None:
    parts, clips = cfg.TRAIN.GRAD_ACCUM_STEPS, cfg.TRAIN.BATCH_SIZE * cfg.AUG.NUM_SAMPLE
    if cfg.TRAIN.ENABLE and parts > clips:
        raise ConfigError(
            f"TRAIN.GRAD_ACCUM_STEPS is {parts}, more than the {clips} clips of a step (TRAIN.BATCH_SIZE x "
            f"AUG.NUM_SAMPLE); set it to {clips} or less"
        )


@_check
def _sharding(cfg: CfgNode) -> None:
    if not cfg.TRAIN.ENABLE or cfg.TRAIN.PARALLEL != "fsdp":
        return
    if cfg.MODEL.COMPILE:
        raise ConfigError(
            "TRAIN.PARALLEL fsdp and MODEL.COMPILE do not go together: a network that is put together block by block "
            "cannot be compiled as one; set MODEL.COMPILE False or TRAIN.PARALLEL ddp"
        )
    if cfg.TRAIN.MIXED_PRECISION == "fp16":
        raise ConfigError(
            "TRAIN.PARALLEL fsdp and TRAIN.MIXED_PRECISION fp16 do not go together: each process would scale its part "
            "of the gradient for itself; set TRAIN.MIXED_PRECISION bf16 or TRAIN.PARALLEL ddp"
        )


@_check
def _precision(cfg: CfgNode) -> None:
    for section in ("TRAIN", "TEST"):
        key = f"{section}.MIXED_PRECISION"
        if cfg[section].MIXED_PRECISION == "fp16" and cfg.NUM_GPUS == 0:
            raise ConfigError(f"{key} fp16 needs a GPU, but NUM_GPUS is 0; set {key} bf16 or False")


@_check
def _going_on(cfg: CfgNode) -> None:
    if not cfg.TRAIN.CHECKPOINT_EPOCH_RESET and not cfg.TRAIN.CHECKPOINT_FILE_PATH:
        raise ConfigError(
            "TRAIN.CHECKPOINT_EPOCH_RESET is False, but TRAIN.CHECKPOINT_FILE_PATH names no checkpoint to go on from; "
            "set the path (TRAIN.AUTO_RESUME alone goes on from OUTPUT_DIR)"
        )
