"""Which checkpoint of its own a run goes on from or tests: the newest that is sound, the same one in every process."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from uniformer_video.engine.checkpoint import FOLDER, best_path, checkpoints_in, newest_checkpoint
from uniformer_video.models.weight_files import described, read_content
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import DamagedFile, RefusedFile, UserError, WeightError
from uniformer_video.runtime.logging import get_logger

logger = get_logger(__name__)


@dataclass(frozen=True)
class OwnCheckpoint:
    """A checkpoint of a run's own folder that was read whole.

    Attributes:
        path: where it lies.
        content: what ``read_content`` gave, so that it need not be read again; None in all but the main process.
    """

    path: Path
    content: object | None


def own_checkpoint(output_dir: Path, *, best: bool = False) -> Path | None:
    """Return where the checkpoint of :func:`find_own_checkpoint` lies; every process must call it."""
    found = find_own_checkpoint(output_dir, best=best)
    return found.path if found else None


def find_own_checkpoint(output_dir: Path, *, best: bool = False) -> OwnCheckpoint | None:
    """Return the newest sound checkpoint of ``output_dir``, or the best one, or None; every process must call it.

    The main process reads it and compares its digest. One that is damaged, or holds what is refused, is told in one
    line, and the one before it is taken; the best one (after which no numbered one is newer) stands last.

    Args:
        output_dir: of the run.
        best: the checkpoint with the best validation, where there is a sound one.

    Raises:
        UserError: the processes find different ones, because the machines of a run do not share the folder.
        WeightError: there are checkpoints, and all are damaged; or one cannot be read for another reason.
    """
    newest = newest_checkpoint(output_dir)
    if best and best_path(output_dir).exists():
        newest = best_path(output_dir)
    names = distributed.gather_objects(newest.name if newest else "none")
    if len(set(names)) > 1:
        raise UserError(
            f"the processes of this run find different checkpoints in OUTPUT_DIR {str(output_dir)!r} "
            f"({', '.join(names)}); set OUTPUT_DIR to a folder on a disk that all machines share"
        )
    if newest is None:
        return None
    found, mistake = None, None
    if distributed.is_main():
        try:
            found = _first_sound(output_dir, best=best)
        except UserError as error:
            mistake = error
    name, mistake = distributed.gather_objects((found.path.name if found else "", mistake))[0]
    if mistake is not None:
        raise mistake
    return found or OwnCheckpoint(newest.with_name(name), None)


def _first_sound(output_dir: Path, *, best: bool) -> OwnCheckpoint:
    candidates = checkpoints_in(output_dir)
    if best_path(output_dir).exists():
        candidates.insert(0 if best else len(candidates), best_path(output_dir))
    faults: list[tuple[Path, str]] = []
    for path in candidates:
        try:
            content = read_content(path)
        except (DamagedFile, RefusedFile) as error:
            faults.append((path, _fault(error, path)))
            continue
        for damaged, fault in faults:
            logger.warning("checkpoint %s %s; going on from %s", damaged, fault, path.name)
        return OwnCheckpoint(path, content)
    path, fault = faults[0]
    more = f", and {len(faults) - 1} more are" if len(faults) > 1 else ""
    raise WeightError(
        f"no checkpoint in {str(output_dir / FOLDER)!r} is sound: {path.name} {fault}{more}; remove them to start "
        "anew, or set OUTPUT_DIR to a new folder"
    )


def _fault(error: WeightError, path: Path) -> str:
    """Return what is wrong with a checkpoint as the end of a sentence: ``is damaged (it is empty)``."""
    why = str(error).removeprefix(described(path)).strip()
    why = re.sub(r"; [^;]*$", "", why)  # what to do about it: here the run does it
    if isinstance(error, RefusedFile):
        return f"is refused (it {why})"
    return why if why.startswith("is damaged") else f"is damaged (it {why})"
