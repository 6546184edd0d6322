"""What a run says of its settings before it trains: the rate really used, and what may not be meant so."""

from __future__ import annotations

from fvcore.common.config import CfgNode

from uniformer_video.config.load import COMMAND_LINE, source_of
from uniformer_video.engine.setup import global_batch
from uniformer_video.runtime.logging import get_logger
from uniformer_video.solver.schedule import Schedule, base_lr_from_config

logger = get_logger(__name__)


def remark_on_settings(cfg: CfgNode) -> None:
    """Log the scaled learning rate, and a warning for each setting that may not do what it seems to."""
    solver, schedule = cfg.SOLVER, Schedule.from_config(cfg)
    if solver.BASE_LR_BATCH:
        logger.info(
            "learning rate %.4g: SOLVER.BASE_LR %.4g x %d videos a step / SOLVER.BASE_LR_BATCH %d",
            *(base_lr_from_config(cfg), solver.BASE_LR, global_batch(cfg), solver.BASE_LR_BATCH),
        )
        keys = ("SOLVER.BASE_LR", "TRAIN.BATCH_SIZE", "SOLVER.BASE_LR_BATCH")
        # The habit of other toolkits: there the rate of a command line is scaled by hand.
        by_hand = [source_of(cfg, key) == COMMAND_LINE for key in keys] == [True, True, False]
        if by_hand and global_batch(cfg) != solver.BASE_LR_BATCH:
            logger.warning(
                "SOLVER.BASE_LR of the command line is taken for a step of SOLVER.BASE_LR_BATCH %d videos and scaled; "
                "SOLVER.BASE_LR_BATCH 0 takes it as it is",
                solver.BASE_LR_BATCH,
            )
    if cfg.MODEL.DROPOUT_RATE:
        logger.warning(
            "MODEL.DROPOUT_RATE %g has no effect, as in the published networks; UNIFORMER.HEAD_DROPOUT_RATE has",
            cfg.MODEL.DROPOUT_RATE,
        )
    if solver.WARMUP_EPOCHS >= solver.MAX_EPOCH:
        logger.warning(
            "SOLVER.WARMUP_EPOCHS %g is not below SOLVER.MAX_EPOCH %d: training ends in the warm-up, at rate %.3g",
            *(solver.WARMUP_EPOCHS, solver.MAX_EPOCH, schedule(solver.MAX_EPOCH)),
        )
    _remark_on_fine_tuning(cfg)


def _remark_on_fine_tuning(cfg: CfgNode) -> None:
    model, smoothing = cfg.MODEL, "MIXUP.LABEL_SMOOTH_VALUE"
    if cfg.SOLVER.LAYER_DECAY < 1:
        layers = sum(cfg.UNIFORMER.DEPTH) + 1
        logger.info(
            "layer-wise rates: SOLVER.LAYER_DECAY %g leaves the stem %.3g of the head's rate, %d layers behind it",
            *(cfg.SOLVER.LAYER_DECAY, cfg.SOLVER.LAYER_DECAY**layers, layers),
        )
    if model.FREEZE and not (cfg.TRAIN.CHECKPOINT_FILE_PATH or cfg.UNIFORMER.PRETRAIN_NAME):
        logger.warning(
            "MODEL.FREEZE %s keeps random weights as they are: set UNIFORMER.PRETRAIN_NAME or "
            "TRAIN.CHECKPOINT_FILE_PATH to start from trained ones, or MODEL.FREEZE to the empty word",
            model.FREEZE,
        )
    if model.LOSS_FUNC == "cross_entropy" and cfg.MIXUP.LABEL_SMOOTH_VALUE and source_of(cfg, smoothing):
        logger.warning(
            "%s %g has no effect: MODEL.LOSS_FUNC cross_entropy is against plain labels; soft_cross_entropy smooths "
            "them, with MIXUP.ENABLE False too",
            *(smoothing, cfg.MIXUP.LABEL_SMOOTH_VALUE),
        )
    if model.CLASS_WEIGHTS == "balanced" and cfg.DATA.CLASS_BALANCED_SAMPLING:
        logger.warning(
            "MODEL.CLASS_WEIGHTS balanced and DATA.CLASS_BALANCED_SAMPLING True both make up for rare classes: "
            "together they count twice; use one of them"
        )
