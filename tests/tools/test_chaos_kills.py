"""What chaos.py kills asks of a killed run: it fails when progress is lost, a file is gone, a process is left."""

from __future__ import annotations

import random
import signal
from collections import Counter

import pytest

from tests.tools.chaos_path import bench, save

# isort: split
import chaos_kills
import chaos_strike
from chaos_bench import Reference
from chaos_cases import Case
from chaos_kills import Victim, losses, summarise
from chaos_runs import Ended
from chaos_strike import ANYTIME, STARTUP, WRITING, Blow, Plan, Watch, strike

KILL = Plan(signal.SIGKILL, False, ANYTIME, 1.0)
TERM = Plan(signal.SIGTERM, True, ANYTIME, 1.0)
TRAINS = "x] training on 44 videos\n"


def log(steps, of=11):
    """Return the output of a run after so many steps."""
    epoch, step = divmod(steps - 1, of)
    return TRAINS + f"epoch {epoch + 1}/5 step {step + 1}/{of}  loss 1.0\n"


def ended(code, out="", err=""):
    return Ended(code, 1.0, out, err)


def blow(phase="training", seen=0, quiet=False):
    return Blow(phase, seen, quiet)


@pytest.mark.parametrize(
    ("plan", "struck", "end", "before", "after", "problem"),
    [
        # SIGKILL: no more than CHECKPOINT_STEPS (2) are lost.
        (KILL, blow(seen=12), ended(-9, log(14)), 10, 12, ""),
        (KILL, blow(seen=12), ended(-9, log(15)), 10, 12, "3 steps are lost"),
        (KILL, blow(seen=12), ended(-9, log(12)), 10, 10, "after 12 steps is gone"),
        (KILL, blow(seen=0), ended(-9, TRAINS), 10, 8, "after 10 steps is gone"),
        (KILL, blow(seen=10), ended(-9, TRAINS), 10, 10, ""),
        (KILL, blow(seen=55), ended(0, log(55)), 10, 55, ""),
        (KILL, blow(seen=10), ended(1, log(12)), 10, 12, "exit code 1"),
        (KILL, blow(seen=12), ended(-9, log(12), "Traceback (most recent call last):"), 10, 12, "a traceback"),
        # SIGTERM: nothing is lost, and the code says so.
        (TERM, blow(seen=12), ended(75, log(13)), 10, 13, ""),
        (TERM, blow(seen=12), ended(75, log(13)), 10, 12, "13 steps were done"),
        (TERM, blow(seen=12), ended(75, TRAINS), 10, 10, "after 12 steps is gone"),
        (TERM, blow(seen=10), ended(75, TRAINS), 10, 10, ""),
        (TERM, blow(seen=10), ended(75, TRAINS), 10, 12, "10 steps were done"),
        (TERM, blow(seen=55), ended(0, log(55)), 10, 55, ""),
        (TERM, blow(seen=12), ended(-15, log(13)), 10, 13, "not 75"),
        (TERM, blow(seen=12), ended(2, log(13)), 10, 13, "not 75"),
        (TERM, blow("start-up", 10, quiet=True), ended(-15), 10, 10, ""),
        (TERM, blow("start-up", 10, quiet=False), ended(-15, "some words"), 10, 10, "not 75"),
        (TERM, blow("end", 55), ended(-15, log(55)), 10, 55, ""),
        (KILL, blow("end", 55), ended(-15, log(55)), 10, 55, "exit code -15"),
    ],
)
def test_what_a_kill_must_not_have_done(plan, struck, end, before, after, problem):
    found = losses(plan, struck, end, before, after)
    assert len(found) == bool(problem), found
    assert problem in " ".join(found)


class FakeRun:
    """A run that does one thing to its folder and ends."""

    def __init__(self, act, end):
        self.act, self.end = act, end

    def wait(self, limit_s):
        self.act()
        return self.end

    def members(self):
        return []

    def gone(self, limit_s):
        return True


@pytest.fixture
def victim(tmp_path, monkeypatch):
    made, _ = bench(tmp_path)
    case = Case("kills", "kills", "")
    monkeypatch.setattr(made, "reference", lambda: Reference(tmp_path / "reference", 1.0, 1.0))
    return Victim(made, case, made.case / "run")


def attempt(victim, monkeypatch, act, end, struck=None, plan=KILL):
    monkeypatch.setattr(victim.bench, "start", lambda output, *settings: FakeRun(act, end))
    monkeypatch.setattr(chaos_kills, "strike", lambda run, plan, watch: struck)
    return victim.attempt(plan)


def test_a_run_that_goes_on_from_its_newest_checkpoint_holds(victim, monkeypatch):
    first = blow(seen=2)
    assert attempt(victim, monkeypatch, lambda: save(victim.output, 0, 2), ended(-9, log(3)), first) is first
    assert victim.folder.position == 2
    resumed = f"resumed from {victim.folder.newest} after 0 of 5 epochs\n{log(11)}"
    assert attempt(victim, monkeypatch, lambda: save(victim.output, 1), ended(0, resumed)) is None
    assert victim.case.problems == []
    assert victim.checked == 3
    victim.leftovers(now=True)
    assert victim.case.problems == []


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("", "it began anew"),
        ("resumed from /x/checkpoint_epoch_00000_step_000001.pyth after\n", "not /"),
        ("resumed from /x/.checkpoint_epoch_00000_step_000004.pyth.abc.part after\n", "not /"),
    ],
)
def test_a_run_that_goes_on_from_elsewhere_fails(victim, monkeypatch, said, problem):
    attempt(victim, monkeypatch, lambda: save(victim.output, 0, 2), ended(-9, log(2)), blow())
    attempt(victim, monkeypatch, lambda: save(victim.output, 0, 4), ended(-9, said + log(4)), blow())
    assert len(victim.case.problems) == 1 and problem in victim.case.problems[0]


def test_a_damaged_checkpoint_after_a_kill_fails(victim, monkeypatch):
    def act():
        save(victim.output, 0, 2)
        path = save(victim.output, 0, 4)
        path.write_bytes(path.read_bytes()[:500])

    attempt(victim, monkeypatch, act, ended(-9, log(4)), blow(seen=2))
    assert len(victim.case.problems) == 1 and "step_000004" in victim.case.problems[0]


def test_a_run_that_ends_badly_by_itself_fails(victim, monkeypatch):
    attempt(victim, monkeypatch, lambda: None, ended(1, TRAINS, "oh no"))
    assert victim.case.problems == ["run, to its end: exit code 1: oh no"]


def test_processes_that_outlive_their_run_fail(victim, monkeypatch):
    monkeypatch.setattr(chaos_kills, "LEFT_S", 0.0)
    monkeypatch.setattr(FakeRun, "members", lambda self: [4711])
    attempt(victim, monkeypatch, lambda: None, ended(-9, TRAINS), blow())
    victim.leftovers()
    assert victim.case.problems == ["1 processes are left 0 s after a kill: [4711]"]
    victim.leftovers()
    assert len(victim.case.problems) == 1, "told once"


def test_the_end_of_a_run_is_compared_and_half_written_files_are_found(victim, monkeypatch):
    save(victim.reference.output, 5)
    save(victim.output, 5, value=1.5)
    (victim.output / "checkpoints" / ".x.part").touch()
    attempt(victim, monkeypatch, lambda: None, ended(0, TRAINS))
    victim.finish()
    problems = " ".join(victim.case.problems)
    assert "model_state.w: differ by 0.5" in problems
    assert "no scores" in problems and ".x.part" in problems


def test_plans_are_drawn_in_their_shares():
    generator = random.Random(0)
    plans = [Plan.draw(generator, 3.0, 8.0) for _ in range(4000)]
    share = {key: n / 4000 for key, n in Counter(plan.aim for plan in plans).items()}
    assert share[STARTUP] == pytest.approx(0.06, abs=0.015)
    assert share[WRITING] == pytest.approx(1 / 3, abs=0.03)
    assert sum(plan.signal == signal.SIGKILL for plan in plans) / 4000 == pytest.approx(0.5, abs=0.03)
    assert sum(plan.group for plan in plans) / 4000 == pytest.approx(1 / 3, abs=0.03)
    for aim, longest in ((STARTUP, 3.0), (ANYTIME, 8.0), (WRITING, 0.7 * 8.0)):
        delays = [plan.delay_s for plan in plans if plan.aim == aim]
        assert 0 <= min(delays) < 0.1 * longest and 0.9 * longest < max(delays) <= longest
    assert Plan(signal.SIGTERM, True, ANYTIME, 0).name == "SIGTERM to the group"


class StruckRun:
    """A run whose output, life and sleeps are a script."""

    def __init__(self, text, alive=True):
        self.text, self.alive, self.sent = text, alive, []

    def wait_for(self, told, limit_s, poll_s):
        return bool(told(self.text))

    def running(self):
        return self.alive

    def out(self):
        return self.text

    def send(self, number, group):
        self.sent.append((number, group))


def test_strikes(tmp_path):
    save(tmp_path, 0, 2)
    (tmp_path / "checkpoints" / ".old.part").touch()
    watch = Watch(tmp_path, 11)
    run = StruckRun(log(3))
    now = Plan(signal.SIGTERM, True, ANYTIME, 0.0)
    assert strike(run, now, watch) == Blow("training", 2, quiet=False)
    assert run.sent == [(signal.SIGTERM, True)]
    (tmp_path / "checkpoints" / ".new.part").touch()
    aimed = Plan(signal.SIGKILL, False, WRITING, 0.0)
    assert strike(run, aimed, watch).phase == "writing"
    assert strike(StruckRun("loading"), now, watch) is None, "it ended before it trained"
    assert strike(StruckRun(log(3), alive=False), now, watch) is None
    early = Plan(signal.SIGKILL, False, STARTUP, 0.0)
    assert strike(StruckRun(""), early, watch) == Blow("start-up", 2, quiet=True)


def test_an_aimed_strike_waits_for_a_new_temporary_file(tmp_path, monkeypatch):
    save(tmp_path, 0, 2)
    watch, looks = Watch(tmp_path, 11), []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 5:
            (tmp_path / "checkpoints" / ".new.part").touch()

    monkeypatch.setattr(chaos_strike.time, "sleep", sleep)
    found = strike(StruckRun(log(3)), Plan(signal.SIGKILL, False, WRITING, 0.0, extra_s=0.02), watch)
    assert found.phase == "writing"
    assert looks == [chaos_strike.POLL_S] * 5 + [0.02]


def test_summary():
    case = Case("kills", "kills", "")
    counts = Counter({("SIGKILL to the process", "writing"): 3, ("SIGTERM to the group", "training"): 2})
    summarise(case, counts, 4, 77)
    assert case.facts[0] == "5 kills (3 SIGKILL to the process, 2 SIGTERM to the group; 2 in training, 3 in writing)"
    assert case.figures["kills"] == {"SIGKILL to the process, writing": 3, "SIGTERM to the group, training": 2}
    assert case.figures["runs"] == 4 and case.figures["checkpoints"] == 77
