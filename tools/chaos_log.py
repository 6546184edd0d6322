"""What the output of a run tells: the last step it finished, what it was doing, where it went on from."""

from __future__ import annotations

import re

TRAINING = "training on "
"""In the line after which the time of training begins."""
TESTING = re.compile(r"\] testing \d+ videos")
ENDED = "predictions: "
"""In the last line of a run."""

STEP = re.compile(r"epoch (\d+)/\d+ step (\d+)/(\d+)  loss")
EPOCH = re.compile(r"epoch (\d+)/\d+ done")
RESUMED = re.compile(r"resumed from (\S.*?\.pyth)\b")
ERROR = re.compile(r"^(?:\[rank \d+[^\]]*\] ?|\[rank\d+\]: ?)?error: ", re.MULTILINE)
TRACEBACK = "Traceback (most recent call last)"

PHASES = ("start-up", "training", "writing", "validation", "test", "end")


def steps_done(text: str) -> int | None:
    """Return the steps of all epochs up to the last one that the log tells; None where it tells none."""
    steps = STEP.findall(text)
    if not steps:
        return None
    epoch, step, of = map(int, steps[-1])
    return (epoch - 1) * of + step


def phase(text: str, *, writing: bool = False) -> str:
    """Return what a run is doing that has said ``text``, one of :data:`PHASES`.

    Args:
        text: its output so far.
        writing: a checkpoint's temporary file is there.
    """
    if ENDED in text:
        return "end"
    if writing:
        return "writing"
    if TESTING.search(text):
        return "test"
    if TRAINING not in text:
        return "start-up"
    last = list(STEP.finditer(text))[-1:]
    if last and last[0][2] == last[0][3] and not EPOCH.search(text, last[0].end()):
        return "validation"
    return "training"


def resumed_from(text: str) -> str | None:
    """Return the path of the checkpoint that a run says it went on from, or None."""
    found = RESUMED.findall(text)
    return found[-1] if found else None


def one_line(out: str, err: str, *words: str) -> list[str]:
    """Return what is wrong with the way a command told a user's mistake: one ``error:`` line that has ``words``.

    Args:
        out: its standard output.
        err: its standard error.
        words: what the line must say, in any case of letters.
    """
    problems = [f"a traceback: {_tail(text)}" for text in (out, err) if TRACEBACK in text]
    lines = [line for line in err.splitlines() if ERROR.match(line)]
    if len(lines) != 1:
        problems.append(f"{len(lines)} error lines in place of one: {_tail(err)}")
    told = " ".join(lines).lower()
    problems += [
        f"the line does not say {word!r}: {told[:300]}" for word in words if lines and word.lower() not in told
    ]
    return problems


def _tail(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-3:])[-400:] or "(nothing)"
