"""What a training tells: lines, fields, events."""

from __future__ import annotations

import builtins
import re

import pytest
import simplejson
import torch

from uniformer_video.config import load_config
from uniformer_video.engine import report as report_module
from uniformer_video.engine.report import TrainReport, memory_name, open_tensorboard, watched_figure
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import ConfigError

CPU = torch.device("cpu")
LINE = re.compile(
    r"INFO: epoch (\d+)/3 step (\d+)/7  loss ([\d.]+)  lr ([\d.e-]+)  grad ([\d.e-]+)  data ([\d.]+) s  "
    r"step ([\d.]+) s  ([\d.]+) clips/s  data (\d+|-) %  mem ([\d.]+) GiB  left (\d\d:\d\d:\d\d)"
)


TRAIN_EVENTS = [f"train/{name}" for name in ("loss", "lr", "grad_norm", "clips_per_s", "data_share")]


class Clock:
    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


class Events:
    def __init__(self):
        self.scalars, self.closed = [], False

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def close(self):
        self.closed = True


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(report_module, "time", clock)
    return clock


def run(clock, *, period=3, steps=7, epochs=3, events=None, epoch=1, start=0, left_out=()):
    """Report one epoch whose step n waits n and computes 2 seconds, with loss n + 0.5 and 6 clips."""
    report = TrainReport(period=period, steps=steps, epochs=epochs, device=CPU, events=events)
    clock.now += 50  # before the epoch: counts nowhere
    report.start()
    for step in range(start, steps):
        clock.now += step
        report.batch_ready()
        clock.now += 2
        if step in left_out:
            report.step_left_out(epoch, step)
        else:
            report.step_done(epoch, step, loss=step + 0.5, lr=1e-3 * (step + 1), norm=step + 10.0, clips=6)
    return report


def stats(log):
    return [simplejson.loads(line.split("json_stats: ")[1]) for line in log if "json_stats" in line]


def test_one_line_each_for_every_period_and_the_end(clock, log):
    run(clock)
    lines = [LINE.fullmatch(line) for line in log if "json_stats" not in line]
    assert len(log) == 6 and all(lines)
    assert [(m[1], m[2]) for m in lines] == [("2", "3"), ("2", "6"), ("2", "7")]
    entries = stats(log)
    assert [entry["iter"] for entry in entries] == ["3/7", "6/7", "7/7"]
    assert [entry["epoch"] for entry in entries] == ["2/3"] * 3
    assert {entry["_type"] for entry in entries} == {"train_iter"}
    # Over the steps since the last line: the mean loss, the median times; lr and norm are those of the last step.
    assert [entry["loss"] for entry in entries] == [1.5, 4.5, 6.5]
    assert [entry["dt_data"] for entry in entries] == [1, 4, 6]
    assert [entry["dt"] for entry in entries] == [3, 6, 8]
    assert [entry["dt_net"] for entry in entries] == [2, 2, 2]
    assert [entry["lr"] for entry in entries] == pytest.approx([0.003, 0.006, 0.007])
    assert [entry["grad_norm"] for entry in entries] == [12, 15, 16]
    # Clips of the window over its time; the share without the first step of the pass, which waits for workers to start.
    assert [entry["clips_per_s"] for entry in entries] == pytest.approx([18 / 9, 18 / 18, 6 / 8], rel=1e-7)
    assert [entry["data_share"] for entry in entries] == pytest.approx([3 / 7, 12 / 18, 6 / 8], rel=1e-7)
    assert [(m[8], m[9]) for m in lines] == [("2.0", "43"), ("1.0", "67"), ("0.8", "75")]
    assert [entry["RAM"] for entry in entries] == [f"{m[10]}G" for m in lines]
    assert all(re.fullmatch(r"\d+\.\d\dG", entry["RAM"]) and float(entry["RAM"][:-1]) > 0.05 for entry in entries)
    names = {"_type", "epoch", "iter", "loss", "lr", "grad_norm", "dt", "dt_data", "dt_net", "RAM", "eta"}
    assert all(set(entry) == names | {"clips_per_s", "data_share"} for entry in entries)
    # Mean step so far times the steps that remain: 4 of this epoch and 7 of the next, at 3 s.
    assert [entry["eta"] for entry in entries] == ["00:00:33", "00:00:36", "00:00:35"]
    assert (lines[0][3], lines[0][4], lines[0][5], lines[0][6], lines[0][7], lines[0][11]) == (
        *("1.5000", "0.003", "12", "1.000", "3.000"),
        "00:00:33",
    )


@pytest.mark.parametrize(("period", "count"), [(1, 7), (2, 4), (7, 1), (100, 1)])
def test_the_period(clock, log, period, count):
    run(clock, period=period)
    assert len(stats(log)) == count
    assert sum("json_stats" not in line for line in log) == count


def test_the_end_of_the_run_is_near(clock, log):
    run(clock, epoch=2)
    assert stats(log)[-1]["eta"] == "00:00:00"


def test_a_loss_that_is_no_number_is_still_json(clock, log):
    report = TrainReport(period=1, steps=1, epochs=1, device=CPU, events=None)
    report.step_done(0, 0, loss=1.0, lr=1e-9, norm=float("inf"), clips=1)
    assert stats(log)[0]["grad_norm"] is None
    assert stats(log)[0]["lr"] == 1e-9


def test_a_report_waits_for_no_other_process(clock, log, monkeypatch):
    monkeypatch.setattr(distributed, "sum_floats", lambda *_: pytest.fail("a collective"))
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    run(clock, period=7)
    assert stats(log)[0]["loss"] == 3.5


def test_a_pass_of_one_step_tells_no_share(clock, log):
    events = Events()
    run(clock, period=1, steps=1, events=events)
    (entry,) = stats(log)
    assert entry["data_share"] is None and entry["clips_per_s"] == 3
    assert "  3.0 clips/s  data - %  mem" in log[0]
    assert [name for name, _, _ in events.scalars] == [
        *("train/loss", "train/lr", "train/grad_norm", "train/clips_per_s")
    ]


def test_the_first_step_of_every_epoch_counts_for_no_share(clock, log):
    report = TrainReport(period=2, steps=2, epochs=2, device=CPU, events=None)
    for epoch in range(2):
        report.start()
        for waiting in (30, 1):
            clock.now += waiting
            report.batch_ready()
            clock.now += 3
            report.step_done(epoch, int(waiting == 1), 1.0, 0.1, 1.0, clips=4)
    assert [entry["data_share"] for entry in stats(log)] == [0.25, 0.25]
    assert [entry["clips_per_s"] for entry in stats(log)] == pytest.approx([8 / 37] * 2)


def test_a_run_that_goes_on_inside_an_epoch(clock, log):
    events = Events()
    run(clock, start=4, events=events)
    entries = stats(log)
    assert [entry["iter"] for entry in entries] == ["6/7", "7/7"]
    assert [entry["loss"] for entry in entries] == [5.0, 6.5]
    assert [entry["clips_per_s"] for entry in entries] == pytest.approx([12 / 13, 6 / 8], rel=1e-7)
    assert [entry["data_share"] for entry in entries] == pytest.approx([5 / 7, 6 / 8], rel=1e-7)  # without step 4
    # 6.5 s a step so far: one of this epoch and 7 of the next remain; then 7 s a step.
    assert [entry["eta"] for entry in entries] == ["00:00:52", "00:00:49"]
    assert sorted({step for _, _, step in events.scalars}) == [13, 14]


def test_a_step_that_is_left_out_costs_time_alone(clock, log):
    run(clock, left_out={1})
    entry = stats(log)[0]
    assert entry["loss"] == (0.5 + 2.5) / 2 and (entry["lr"], entry["grad_norm"]) == (0.003, 12)
    assert entry["clips_per_s"] == pytest.approx(12 / 9, rel=1e-7)
    assert entry["data_share"] == pytest.approx(3 / 7, rel=1e-7)
    assert (entry["dt"], entry["dt_data"], entry["eta"]) == (3, 1, "00:00:33")


def test_a_report_that_is_due_at_a_step_that_is_left_out(clock, log):
    run(clock, left_out={2, 3, 4, 5})
    entries = stats(log)
    # Lines come where they are due, of the steps that trained; of none there is nothing to tell.
    assert [(entry["iter"], entry["loss"]) for entry in entries] == [("3/7", 1.0), ("7/7", 6.5)]
    assert [(entry["lr"], entry["grad_norm"]) for entry in entries] == [(0.002, 11), (0.007, 16)]
    assert [entry["clips_per_s"] for entry in entries] == pytest.approx([12 / 9, 6 / 26], rel=1e-7)


def test_what_comes_between_two_steps_is_no_waiting(clock, log):
    report = TrainReport(period=2, steps=2, epochs=1, device=CPU, events=None)
    for step in range(2):
        clock.now += 1
        report.batch_ready()
        clock.now += 3
        report.step_done(0, step, 1.0, 0.1, 1.0, clips=4)
        clock.now += 100  # a checkpoint
        report.start()
    assert (stats(log)[0]["data_share"], stats(log)[0]["dt"]) == (0.25, 4)


def test_a_run_that_waits_for_data_is_told_so(clock, log):
    report = TrainReport(period=10, steps=45, epochs=2, device=CPU, events=None, workers=3)
    for epoch in range(2):
        for step in range(45):
            clock.now += 0.5
            report.batch_ready()
            clock.now += 0.5
            report.step_done(epoch, step, 1.0, 0.1, 1.0, clips=4)
    warnings = [(place, line) for place, line in enumerate(log) if line.startswith("WARNING")]
    # After the first twenty steps that count, once in each epoch, behind the line of figures: each period has two.
    assert [place for place, _ in warnings] == [6, 17]
    assert "WARNING: the network waited for data in 50 % of the last 29 steps' time: " in warnings[0][1]
    assert "raise DATA_LOADER.NUM_WORKERS (now 3)" in warnings[0][1]


def test_the_memory_of_a_gpu_has_its_own_name(clock, log, monkeypatch):
    monkeypatch.setattr(report_module, "peak_memory_gib", lambda device: 12.3456)
    gpu = torch.device("cuda", 1)
    report = TrainReport(period=1, steps=1, epochs=1, device=gpu, events=None)
    report.step_done(0, 0, loss=1.0, lr=0.1, norm=1.0, clips=1)
    (entry,) = stats(log)
    assert entry["gpu_mem"] == "12.35G" and "RAM" not in entry
    assert "  mem 12.35 GiB  " in log[0]
    assert (memory_name(gpu), memory_name(CPU)) == ("gpu_mem", "RAM")


def test_a_validation_without_a_readable_video_is_still_json(clock, log):
    nan = float("nan")
    report = TrainReport(period=1, steps=7, epochs=3, device=CPU, events=None)
    report.epoch_done({"epoch": 1, "train_loss": 1.0, "lr": 0.1, "val_top1": nan, "val_top5": nan, "val_loss": nan})
    assert stats(log)[1] == {"_type": "val_epoch", "epoch": "1/3", "top1_err": None, "top5_err": None, "loss": None}


def test_the_end_of_an_epoch(clock, log):
    events = Events()
    report = TrainReport(period=1, steps=7, epochs=3, device=CPU, events=events)
    report.epoch_done({"epoch": 2, "train_loss": 1.23456, "lr": 0.1})
    assert log[0] == "INFO: epoch 2/3 done  training loss 1.2346"
    assert stats(log) == [{"_type": "train_epoch", "epoch": "2/3", "loss": 1.23456, "lr": 0.1}]
    assert events.scalars == []
    log.clear()
    report.epoch_done({"epoch": 3, "train_loss": 1.0, "lr": 0.1, "val_top1": 50.0, "val_top5": 87.5, "val_loss": 0.75})
    assert log[0] == (
        "INFO: epoch 3/3 done  training loss 1.0000  validation top-1 50.00 %  top-5 87.50 %  loss 0.7500"
    )
    assert stats(log) == [
        {"_type": "train_epoch", "epoch": "3/3", "loss": 1.0, "lr": 0.1},
        {"_type": "val_epoch", "epoch": "3/3", "top1_err": 50.0, "top5_err": 12.5, "loss": 0.75},
    ]
    assert events.scalars == [("val/top1", 50.0, 21), ("val/top5", 87.5, 21), ("val/loss", 0.75, 21)]


@pytest.mark.parametrize(
    ("figures", "text", "stats_of", "events_of"),
    [
        ({"val_top1": 50.0}, "top-1 50.00 %", {"top1_err": 50.0}, [("val/top1", 50.0)]),
        ({"val_map": 71.25}, "mAP 71.25 %", {"map": 71.25}, [("val/map", 71.25)]),
    ],
)
def test_the_end_of_an_epoch_with_other_figures(clock, log, figures, text, stats_of, events_of):
    events = Events()
    report = TrainReport(period=1, steps=7, epochs=3, device=CPU, events=events)
    report.epoch_done({"epoch": 1, "train_loss": 2.0, "lr": 0.1, **figures, "val_loss": 0.75})
    assert log[0] == f"INFO: epoch 1/3 done  training loss 2.0000  validation {text}  loss 0.7500"
    assert stats(log)[1] == {"_type": "val_epoch", "epoch": "1/3", "loss": 0.75, **stats_of}
    assert events.scalars == [(name, value, 7) for name, value in (*events_of, ("val/loss", 0.75))]


def test_map_that_is_no_number_is_still_json(clock, log):
    report = TrainReport(period=1, steps=7, epochs=3, device=CPU, events=None)
    report.epoch_done({"epoch": 1, "train_loss": 1.0, "lr": 0.1, "val_map": float("nan"), "val_loss": 1.0})
    assert stats(log)[1] == {"_type": "val_epoch", "epoch": "1/3", "map": None, "loss": 1.0}


def test_the_figure_that_tells_the_best():
    assert (watched_figure(False), watched_figure(True)) == ("val_top1", "val_map")
    assert all(watched_figure(several) in report_module.FIGURES for several in (False, True))


def test_events(clock):
    events = Events()
    report = run(clock, events=events)
    steps = [10, 13, 14]  # counted over epochs
    assert [(name, step) for name, _, step in events.scalars] == [
        (name, step) for step in steps for name in TRAIN_EVENTS
    ]
    values = {name: [value for n, value, _ in events.scalars if n == name] for name in TRAIN_EVENTS}
    assert values["train/loss"] == [1.5, 4.5, 6.5]
    assert values["train/clips_per_s"] == pytest.approx([2, 1, 0.75])
    assert values["train/data_share"] == pytest.approx([3 / 7, 2 / 3, 0.75])
    report.close()
    assert events.closed


# ----------------------------------------------------------------------------------------------------- TensorBoard


def test_tensorboard_is_off_by_default_and_on_the_main_process_alone(tmp_path, monkeypatch):
    assert open_tensorboard(load_config(None, ["OUTPUT_DIR", str(tmp_path)])) is None
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    assert open_tensorboard(load_config(None, ["OUTPUT_DIR", str(tmp_path), "TENSORBOARD.ENABLE", "True"])) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["", "elsewhere"])
def test_tensorboard_writes_events(tmp_path, clock, folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    overrides = ["OUTPUT_DIR", str(tmp_path), "TENSORBOARD.ENABLE", "True"]
    if folder:
        overrides += ["TENSORBOARD.LOG_DIR", str(tmp_path / folder)]
    report = run(clock, events=open_tensorboard(load_config(None, overrides)))
    report.close()
    reader = EventAccumulator(str(tmp_path / (folder or "tensorboard")))
    reader.Reload()
    assert reader.Tags()["scalars"] == TRAIN_EVENTS
    assert [(e.step, e.value) for e in reader.Scalars("train/loss")] == [(10, 1.5), (13, 4.5), (14, 6.5)]


def test_a_run_that_goes_on_draws_no_step_twice(tmp_path, clock):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    cfg = load_config(None, ["OUTPUT_DIR", str(tmp_path), "TENSORBOARD.ENABLE", "True"])
    run(clock, events=open_tensorboard(cfg), period=1).close()  # steps 8 to 14
    # The checkpoint was of epoch 1, step 4 of 7: what came after it is done again.
    run(clock, events=open_tensorboard(cfg, purge_step=7 + 4 + 1), period=1, start=4).close()
    reader = EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    assert [e.step for e in reader.Scalars("train/loss")] == [8, 9, 10, 11, 12, 13, 14]


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
    plain_import = builtins.__import__

    def no_tensorboard(name, *args, **kwargs):
        if "tensorboard" in name:
            raise ImportError(name)
        return plain_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_tensorboard)
    cfg = load_config(None, ["OUTPUT_DIR", str(tmp_path), "TENSORBOARD.ENABLE", "True"])
    with pytest.raises(ConfigError) as error:
        open_tensorboard(cfg)
    assert str(error.value) == (
        "TENSORBOARD.ENABLE needs tensorboard: pip install 'uniformer_video[tensorboard]', or set it to False"
    )
