"""Who of a run is still there: signs of life and last words in the run's store, an end for those who wait in vain.

A process that is killed, or whose machine is gone, leaves the others in an exchange that may never end: NCCL waits, and
gloo does where the connection stays open. So each process has two threads of its own. One talks to the store: it shows
that this process is alive, and looks at the others. As an answer of the store may itself never come, another thread
watches the first, and ends this process, whatever its main thread waits for.

Process 0 looks at all the others and tells what it finds; they look at process 0. The store lies in process 0 or in the
process that started it, so that a store that does not answer means the same as a process 0 that is silent.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

import torch.distributed as dist

from uniformer_video.runtime import stopping
from uniformer_video.runtime.meeting import Member, beat_key, host_key

EXIT_LOST = 74
"""Exit code of a run that lost a process and that the same command goes on with: EX_IOERR of sysexits.h."""

GOES_ON = "the same command goes on from the last checkpoint"
_BYE = b"bye"
_WORDS = "last words"
_LONGEST_BEAT_SECONDS = 0.5
_PAUSE_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
"""So long an answer of the store may take that is under way when all is done."""
_BROKEN_SECONDS = 10.0
"""So long a store that refuses its connections is waited for: its process is gone, or starts no other."""


@dataclass(frozen=True)
class LastWords:
    """Why a run ends.

    Attributes:
        number: of the process that ended first.
        machine: that it was on.
        line: what a user reads.
        code: exit code of the others.
    """

    number: int
    machine: int
    line: str
    code: int = EXIT_LOST


def name_of(number: int, world: int, host: str) -> str:
    """Return what a process is called in messages."""
    return f"process {number} of {world} ({host})" if host else f"process {number} of {world}"


def post(store: dist.Store, words: LastWords) -> None:
    """Leave last words in the store, if nobody has yet."""
    store.compare_set(_WORDS, "", json.dumps(asdict(words)))


class Heartbeat:
    """Shows that this process is alive, and ends it when another one is not.

    Args:
        connect: opens a connection to the run's store that nobody else uses; raises ``Exception`` where it cannot.
        member: this process.
        timeout: seconds after which a silent process counts as lost; 0: only last words are heard.
        end: called with the last words in a thread of the heartbeat, and does not come back.
    """

    def __init__(
        self,
        connect: Callable[[], dist.Store],
        member: Member,
        *,
        timeout: float,
        end: Callable[[LastWords], None],
    ) -> None:
        self._connect, self._member, self._timeout, self._end = connect, member, timeout, end
        self.interval = min(_LONGEST_BEAT_SECONDS, timeout / 10) if timeout else _LONGEST_BEAT_SECONDS
        self._store = connect()
        self._lock = threading.Lock()
        self._stop, self._bye, self._said_bye = threading.Event(), False, threading.Event()
        self._ask_all = member.number == 0
        self._words: LastWords | None = None
        now = time.monotonic()
        self._heard = dict.fromkeys(range(member.world), (b"", now))
        self._answered, self._broken, self._ticked = now, False, now
        self._threads = [
            threading.Thread(target=run, name=f"heartbeat-{run.__name__}", daemon=True)
            for run in (self._talk, self._watch)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def last_words(self, line: str, code: int = EXIT_LOST) -> None:
        """Tell the others why this process ends, and stop watching; waits a moment until they can read it."""
        self._stop.set()
        self._post(LastWords(self._member.number, self._member.machine, line, code))

    def goodbye(self, *, host: bool) -> None:
        """Tell the others that this process is done.

        Args:
            host: the store lies in this process: wait until the others are done too, or lost.
        """
        self._bye = True
        self._said_bye.wait(max(5.0, 3 * self.interval))
        while host and not self._stop.is_set():
            with self._lock:
                if all(beat == _BYE for number, (beat, _) in self._heard.items() if number != self._me):
                    break
            time.sleep(self.interval / 5)
        self.silence()
        # The interpreter's end stops threads where they are, which inside the store's C++ ends the process by SIGABRT.
        for thread in self._threads:
            thread.join(_ANSWER_SECONDS)

    def silence(self) -> None:
        """Stop watching: this process ends for a reason of its own."""
        self._stop.set()

    def verdict(self) -> LastWords | None:
        """Return who is lost, for a process whose exchange with the others has failed; None: nobody is.

        Whoever is alive shows it within a few seconds, in which last words may come too.
        """
        self._ask_all = True
        # Two rounds, of which the first may have begun before, tell what to compare with.
        compared_from = time.monotonic() + max(2.5 * self.interval, 0.5)
        end = compared_from + max(4 * self.interval, 1.0)
        while time.monotonic() < end:
            with self._lock:
                if self._words:
                    return self._words
            time.sleep(self.interval / 5)
        with self._lock:
            gone = [n for n, (beat, at) in self._heard.items() if beat != _BYE and at < compared_from and n != self._me]
            if self._broken or self._answered < compared_from:
                gone = [0] if self._me else []
        return self._lost(gone[0], "is gone") if gone else None

    def someone_left(self) -> bool:
        """Return whether another process has said goodbye."""
        with self._lock:
            return any(beat == _BYE for number, (beat, _) in self._heard.items() if number != self._me)

    @property
    def _me(self) -> int:
        return self._member.number

    def _lost(self, number: int, what: str) -> LastWords:
        host = ""
        with suppress(Exception):
            host = self._bounded(lambda: self._connect().get(host_key(number)).decode(), 1.0) or ""
        name = name_of(number, self._member.world, host)
        return LastWords(number, number // self._member.processes, f"{name} {what}; {GOES_ON}")

    def _post(self, words: LastWords) -> None:
        self._bounded(lambda: post(self._connect(), words), 2.0)

    def _bounded(self, ask: Callable[[], object], seconds: float) -> object:
        """Return ``ask()``, or None where it fails or takes longer."""
        answers: list[object] = []

        def run() -> None:
            with suppress(Exception):
                answers.append(ask())

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(seconds)
        return answers[0] if answers else None

    def _talk(self) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            try:
                self._exchange(count)
                self._answered, self._broken = time.monotonic(), False
            except Exception:
                self._broken = True
                with suppress(Exception):
                    self._store = self._connect()
            self._stop.wait(self.interval)

    def _exchange(self, count: int) -> None:
        """Show a sign of life, and read those of the others."""
        bye = self._bye
        if not self._said_bye.is_set():
            self._store.set(beat_key(self._me), _BYE.decode() if bye else str(count))
        if bye:
            self._said_bye.set()
        if self._store.check([_WORDS]):
            self._words = LastWords(**json.loads(self._store.get(_WORDS)))
        numbers = list(self._heard) if self._ask_all else [0]
        beats = self._store.multi_get([beat_key(number) for number in numbers])
        now = time.monotonic()
        with self._lock:
            for number, beat in zip(numbers, beats, strict=True):
                if beat != self._heard[number][0]:
                    self._heard[number] = (beat, now)

    def _watch(self) -> None:
        while not self._stop.wait(self.interval / 2):
            words = self._judge(time.monotonic())
            if words is not None and not self._stop.is_set():
                self._stop.set()
                self._post(words)
                self._end(words)

    def _judge(self, now: float) -> LastWords | None:
        """Return why this process has to end now, if it has to."""
        paused, self._ticked = now - self._ticked, now
        with self._lock:
            if self._words and self._words.number != self._me:
                return self._words
            if paused > max(3 * self.interval, min(_PAUSE_SECONDS, self._timeout / 4)):
                # This process itself was stopped (a suspended job): what it heard last tells nothing of now.
                self._answered = now
                self._heard = {number: (beat, now) for number, (beat, _) in self._heard.items()}
            if not self._timeout or self._bye and self._member.number:
                return None
            # A run that was asked to stop, maybe by the end of the process with the store, keeps what it has first.
            quick = self._broken and not stopping.requested()
            patience = min(_BROKEN_SECONDS, self._timeout) if quick else self._timeout
            silent = now - self._answered > patience
            watched = self._heard if self._me == 0 else {0: self._heard[0]}
            late = [
                n for n, (beat, at) in watched.items() if n != self._me and beat != _BYE and now - at > self._timeout
            ]
        if silent and not self._me:
            line = f"{name_of(0, self._member.world, self._member.host)} lost the process that started it; {GOES_ON}"
            return LastWords(0, 0, line)
        if silent:
            return self._lost(0, f"was not heard of for {patience:g} s")
        if late and not silent:
            return self._lost(late[0], f"was not heard of for {self._timeout:g} s")
        return None
