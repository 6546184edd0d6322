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
