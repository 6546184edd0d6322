"""How a training begins: where an earlier run of the same output folder was stopped, or with start weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fvcore.common.config import CfgNode
from torch import nn

from uniformer_video.config import differences
from uniformer_video.engine.checkpoint import (
    Checkpoint,
    checkpoint_from,
    read_checkpoint,
    remove_leftovers,
    restore_weights,
)
from uniformer_video.engine.class_folders import class_folders_in, require_same_folders
from uniformer_video.engine.class_order import require_same_order
from uniformer_video.engine.own_checkpoints import find_own_checkpoint
from uniformer_video.engine.start import compare_settings, find_source, load_start_weights
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.seed import restore_generators

logger = get_logger(__name__)


@dataclass(frozen=True)
class Resumption:
    """The checkpoint that a training goes on from.

    Args:
        path: where it lies.
        checkpoint: what it holds.
        own: whether it is of this run's own output folder.
    """

    path: Path | str
    checkpoint: Checkpoint
    own: bool

    def step(self, steps: int) -> int:
        """Return how many of the ``steps`` steps of the next epoch are done.

        An epoch that was of another length, because the batch or the list was another one, goes on at the same share
        of it, with a warning: some videos come twice in it or not at all.
        """
        done, before = self.checkpoint.step, self.checkpoint.steps
        if not done or before in (0, steps):
            return min(done, steps)
        moved = min(round(done / before * steps), steps)
        logger.warning(
            "the epoch that %s is in the middle of had %d steps and now has %d: it goes on after %d of them, so some "
            "of its videos come twice or not at all",
            *(self.path, before, steps, moved),
        )
        return moved

    def restore_generators(self) -> None:
        """Set this process's random generators, which no draw of this toolkit's own depends on."""
        own, world = self.checkpoint.generators, distributed.world_size()
        if self.checkpoint.world != world:
            logger.warning(
                "%s is of %d process(es), this run has %d: batches and draws stay the same, but sums are rounded "
                "otherwise, and each process's batch norms see other clips (BN.NORM_TYPE sync_batchnorm: all)",
                *(self.path, self.checkpoint.world, world),
            )
        elif len(own) == world:
            restore_generators(own[distributed.rank()])


def find_resumption(
    cfg: CfgNode, class_names: Sequence[str] | None, class_folders: Mapping[int, str] | None
) -> Resumption | None:
    """Return the checkpoint to go on from, or None; every process must call it.

    It is the newest sound one of OUTPUT_DIR or, with TRAIN.CHECKPOINT_EPOCH_RESET False and none there, that of
    TRAIN.CHECKPOINT_FILE_PATH.

    Args:
        cfg: the configuration.
        class_names: of the training list, in label order, where known.
        class_folders: of the training list, the folder of each label, where every class has its own.

    Raises:
        UserError: a checkpoint of other classes, or one where TRAIN.AUTO_RESUME forbids it.
    """
    output = Path(cfg.OUTPUT_DIR)
    if distributed.is_main():
        remove_leftovers(output)  # what a process that was killed in the middle of writing has left
    own = find_own_checkpoint(output)
    if own is not None and not cfg.TRAIN.AUTO_RESUME:
        raise UserError(
            f"TRAIN.AUTO_RESUME is False, but OUTPUT_DIR {str(output)!r} holds {own.path.name} of an earlier "
            "run, which would be mixed up with this one; set OUTPUT_DIR to a new folder"
        )
    if own is None and cfg.TRAIN.CHECKPOINT_EPOCH_RESET:
        return None
    source = own.path if own is not None else find_source(cfg, cfg.TRAIN.CHECKPOINT_FILE_PATH).path
    content = own.content if own is not None else None
    checkpoint = read_checkpoint(source) if content is None else checkpoint_from(content, source)
    require_same_order(
        class_names,
        checkpoint.class_names,
        where="the training list",
        others_where=str(source),
        advice="a run goes on with the classes it began with; set OUTPUT_DIR to a new folder",
    )
    if class_names is None or checkpoint.class_names is None:
        others = class_folders_in({"class_folders": checkpoint.class_folders})
        require_same_folders(class_folders, others, where="train.csv", others_where=str(source))
    compare_settings(cfg, checkpoint.cfg, str(source))
    # The file was written by the first machine.
    changed = [line for line in differences(cfg, checkpoint.cfg) if not line.startswith("SHARD_ID:")]
    if changed:
        logger.warning("resuming with other settings than the checkpoint's: %s", "; ".join(changed))
    return Resumption(source, checkpoint, own=own is not None)


def load_first_weights(
    cfg: CfgNode,
    model: nn.Module,
    resumed: Resumption | None,
    class_names: Sequence[str] | None,
    class_folders: Mapping[int, str] | None,
) -> None:
    """Put the weights to go on with into a new network, or those that training starts from.

    Raises:
        WeightError: they are of another network.
    """
    if resumed is None:
        load_start_weights(cfg, model, class_names, class_folders)
    else:
        restore_weights(resumed.checkpoint, resumed.path, model)
