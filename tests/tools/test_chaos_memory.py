"""What chaos.py memory asks: a flat line, files that close, deaths that are told."""

from __future__ import annotations

import pytest

from tests.tools.chaos_path import TOOLS

assert TOOLS
from chaos_memory import LIMIT, deaths, figures, judge, slope, tell  # noqa: E402
from chaos_sampling import Line  # noqa: E402


def line(per_step=0.0, files=lambda n: 10, count=200, jump=0.0):
    """A process at steps 10, 20, ...: noise of 0.1 MiB, growth and a jump in the middle."""
    made = Line()
    for n in range(count):
        mib = 400 + 0.1 * (n % 3) + per_step * 10 * n + (jump if n >= count // 2 else 0)
        made.add(10 * (n + 1), mib, files(n) + n % 2)
    return made


def test_a_flat_line_holds():
    assert judge("main", line(), 200) == []
    found = figures(line(), 200)
    assert abs(found["mib_per_1000_steps"]) < 0.05
    assert found["first_mib"] == pytest.approx(400.1, abs=0.11) and found["last_mib"] == pytest.approx(400.1, abs=0.11)
    assert (found["files_first"], found["files_last"], found["samples"]) == (10, 10, 181)
    assert "10 and 10 files" in tell("main", line(), 200)


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_the_limit_is_where_it_is_said_to_be(share):
    problems = judge("main", line(per_step=share * LIMIT / 1000), 200)
    assert len(problems) == (share > 1)


def test_memory_that_grows_fails():
    (problem,) = judge("worker 0", line(per_step=0.012), 200)
    assert problem == "worker 0 grows by 12.00 MiB in 1,000 steps, more than 2"


def test_what_grows_before_the_warm_up_ends_does_not_count():
    made = Line()
    for n in range(100):
        made.add(10 * n, min(n, 20), 5)
    assert judge("main", made, 200) == []
    assert judge("main", made, 0) == [], "a fifth of the looks does not move the median of slopes"


def test_single_jumps_do_not_make_a_slope():
    assert abs(figures(line(jump=3.0), 200)["mib_per_1000_steps"]) <= LIMIT


def test_files_that_stay_open_fail():
    (problem,) = judge("main", line(files=lambda n: 10 + n // 20), 200)
    assert problem == "main has 18 files open, and had 11"


def test_too_few_looks_tell_nothing():
    assert "too few" in judge("main", line(count=25), 200)[0]


def test_slope():
    assert slope([0, 1, 2, 3], [5, 7, 9, 11]) == 2
    assert slope([0, 1, 2, 3, 4], [0, 1, 100, 3, 4]) == 1
    assert slope([1, 1], [1, 2]) != slope([1, 1], [1, 2]), "no number: two looks at one step"
    assert slope(range(3000), range(3000)) == 1


VIDEOS = ["/v/train 01.mp4", "/v/train 02.mp4"]
DEATH = "worker 1 (process 4711) was ended by SIGKILL while reading /v/train 02.mp4; the loader starts anew\n"


def test_deaths_of_workers():
    assert deaths(DEATH, [4711], VIDEOS) == (["train 02.mp4"], [])
    idle = DEATH.replace("/v/train 02.mp4", "no video")
    assert deaths(idle, [4711], VIDEOS) == ([], [])
    assert deaths("", [4711], VIDEOS) == ([], ["0 lines tell that worker 4711 was ended by SIGKILL"])
    assert deaths(DEATH, [47], VIDEOS)[1], "another number"
    assert deaths(DEATH + DEATH, [4711], VIDEOS)[1] == ["2 lines tell that worker 4711 was ended by SIGKILL"]
    assert deaths(DEATH.replace("SIGKILL", "SIGSEGV"), [4711], VIDEOS)[1]
