"""Submitting a run: what a cluster is asked for, one line for every mistake, and a real job on this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tools.loading import load_tool
from uniformer_video.engine.checkpoint import checkpoint_path, newest_checkpoint, read_checkpoint

submitit = pytest.importorskip("submitit")

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "submit.py"

pytestmark = pytest.mark.usefixtures("logger_restored")


@pytest.fixture(scope="module")
def tool():
    return load_tool("submit")


@pytest.fixture
def submit(tool, toy_set, tmp_path, capsys, monkeypatch):
    """Return a function that submits the toy run with words added and gives (exit code, stdout, stderr)."""
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR1")

    def call(*words):
        data = ("DATA.PATH_TO_DATA_DIR", toy_set, "OUTPUT_DIR", tmp_path / "out")
        code = tool.main([str(word) for word in (*words, "--cfg", toy_set / "toy.yaml", *data)])
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Put a SLURM that only notes what it is asked into the path, and return the folder of its notes."""
    notes = tmp_path / "cluster"
    notes.mkdir()
    for name, says in (("sbatch", "Submitted batch job 4711"), ("srun", ""), ("scontrol", "")):
        (notes / name).write_text(f'#!/bin/sh\necho "$@" >> {notes}/{name}.txt\necho "{says}"\n')
        (notes / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{notes}{os.pathsep}{os.environ['PATH']}")
    return notes


def test_what_a_cluster_is_asked_for(submit, cluster, tmp_path):
    words = ("--nodes", 2, "--gpus_per_node", 4, "--cpus_per_task", 6, "--time", "1-02:30", "--mem", 1.5)
    names = (
        "--qos",
        "high",
        "--partition",
        "gpu",
        "--account",
        "me",
        "--constraint",
        "a|b",
        "--comment",
        "two words",
        "--name",
        "mine",
    )
    code, out, err = submit(*words, *names, "--signal_delay", 120)
    assert (code, err) == (0, "")
    folder = tmp_path / "out" / "slurm"
    assert out == f"job 4711 submitted; log: {folder}/4711_0_log.out, errors: {folder}/4711_0_log.err\n"
    script = Path((cluster / "sbatch.txt").read_text().split()[-1])
    text = next(p.read_text() for p in (script, *folder.glob("*submission.sh")) if p.exists())
    asked = set(re.findall(r"^#SBATCH --(\S+)", text.replace("'two words'", "two_words"), re.MULTILINE))
    assert {
        *("nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "cpus-per-task=6", "time=1590", "mem=1536MB", "qos=high"),
        *("partition=gpu", "account=me", "constraint='a|b'", "comment=two_words", "job-name=mine", "requeue"),
        "signal=USR1@120",  # what a run listens to
    } <= asked
    assert "srun" in text and "submitit.core._submit" in text


def test_a_cluster_that_refuses(submit, cluster):
    (cluster / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    code, _, err = submit("--partition", "none")
    told, line = err.splitlines()
    assert (code, told) == (2, "sbatch: error: invalid partition")  # as it comes from sbatch
    assert line.startswith("error: the job could not be submitted: ") and "invalid partition" in line


def test_no_cluster(submit, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert submit() == (
        *(2, ""),
        "error: --cluster slurm needs srun and sbatch, which are not on this machine; log in to the cluster, or set "
        "--cluster local\n",
    )


def test_no_submitit(submit, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    code, _, err = submit()
    assert code == 2 and err.startswith(
        'error: tools/submit.py needs submitit; run pip install "uniformer_video[slurm]"'
    )
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--nodes", 0), "--nodes is 0; allowed: whole number >= 1"),
        (("--gpus_per_node", -1), "--gpus_per_node is -1; allowed: whole number >= 0"),
        (("--tasks_per_node", 0), "--tasks_per_node is 0; allowed: whole number >= 1"),
        (("--max_requeues", -1), "--max_requeues is -1; allowed: whole number >= 0"),
        (("--mem", "nan"), "--mem is nan; allowed: gigabytes above 0"),
        (("--time", "a day"), "--time is 'a day'; allowed: minutes, MINUTES:SECONDS, H:M:S or D-H[:M[:S]]"),
        (("--time", "0"), "--time is '0': no time at all"),
        (
            ("--time", "1", "--signal_delay", 60),
            "--signal_delay is 60 s of a --time of 60 s; allowed: above 0",
        ),
        (
            ("--cluster", "local", "--nodes", 2),
            "--nodes is 2, but --cluster local is this machine alone",
        ),
        (("TRAIN.BATCHSIZE", 4), "command line: unknown key TRAIN.BATCHSIZE; did you mean TRAIN.BATCH_SIZE"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_submitted(submit, cluster, words, line):
    code, out, err = submit(*words)
    assert (code, out) == (2, "") and err.startswith(f"error: {line}") and len(err.splitlines()) == 1
    assert not (cluster / "sbatch.txt").exists()


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30", 2), ("24:00:00", 1440), ("0:00:01", 1), ("2-1", 2940), ("2-1:30", 2970), ("1-0:0:1", 1441)],
)
def test_times_as_slurm_writes_them(tool, text, minutes):
    assert tool.minutes(text) == minutes


def test_a_stopped_job_goes_into_the_queue_again_so_often(tool, cluster, tmp_path, capsys):
    job = tool.RunNet("root", [], str(tmp_path), 2)
    for _ in range(3):
        job.requeue("slurm", "4711")
    assert (cluster / "scontrol.txt").read_text() == "requeue 4711\n" * 2
    assert (
        capsys.readouterr().out.splitlines()[-1] == "not put into the queue again: 2 times is enough (--max_requeues)"
    )
    with pytest.raises(SystemExit) as ended:
        job.requeue("local", "12")
    assert ended.value.code == 144  # by which submitit's own executor knows


def test_a_cluster_that_does_not_requeue_is_one_line(tool, cluster, tmp_path, capsys):
    (cluster / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    tool.RunNet("root", [], str(tmp_path), 2).requeue("slurm", "4711")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "scontrol did not requeue job 4711: submit the same command again to go on"


def children(pid):
    """Return the processes that ``pid`` has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])  # USR2: a cluster passed the variable not on
def test_a_job_on_this_machine_is_stopped_and_goes_on_to_its_end(toy_set, tmp_path, number):
    options = (
        "SOLVER.MAX_EPOCH",
        40,
        "TRAIN.EVAL_PERIOD",
        100,
        "TRAIN.CHECKPOINT_PERIOD",
        4,
        "TRAIN.KEEP_CHECKPOINTS",
        0,
        "TEST.ENABLE",
        False,
    )
    words = ("--cluster", "local", "--tasks_per_node", 2, "--time", 60)
    command = (sys.executable, TOOL, *words, "--cfg", toy_set / "toy.yaml", "DATA.PATH_TO_DATA_DIR", toy_set)
    with open(tmp_path / "said.txt", "w+") as said:  # no pipe: the job has it too, and would be waited for
        done = subprocess.run(
            [str(word) for word in (*command, "OUTPUT_DIR", tmp_path / "out", *options)],
            stdout=said,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=100,
        )
    assert done.returncode == 0
    text = (tmp_path / "said.txt").read_text()
    job, log = re.match(r"job (\d+) submitted; log: (\S+), errors: \S+\n", text).groups()

    def wait_until(holds):
        end = time.monotonic() + 200
        while not holds():
            assert time.monotonic() < end, Path(log).read_text()
            time.sleep(0.05)

    wait_until(checkpoint_path(tmp_path / "out", 4).exists)
    for pid in children(int(job)):  # as SLURM does, some time before the end
        os.kill(pid, number)
    wait_until(lambda: "Job completed successfully" in Path(log).read_text())
    text = Path(log).read_text()
    assert text.count("stopped by SIGUSR1") == 1 and text.count("resumed from") == 1
    assert "put into the queue again (1 of at most 100 times)" in text
    assert text.count("2 process(es)") == 2
    assert read_checkpoint(newest_checkpoint(tmp_path / "out")).epoch == 40
