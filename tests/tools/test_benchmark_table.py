from __future__ import annotations

import json

from tests.tools import test_benchmark  # puts the tools where they can be imported

import benchmark_memory  # noqa: E402, isort: skip
import benchmark_table  # noqa: E402, isort: skip
import benchmark_timing  # noqa: E402, isort: skip

main = test_benchmark.benchmark.main
SMALL = [*test_benchmark.TINY, "DATA.TRAIN_CROP_SIZE", "64"]


def test_networks_of_the_table(tmp_path, capsys):
    out = tmp_path / "table.json"
    assert main(["table", "--only", "long,short", "--repeats", "1", "--json", str(out), *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = json.loads(out.read_text())
    names = [row["name"] for row in rows]
    assert names[0] == "base 2x64x64 x1 inference fp32", "in the order asked for"
    assert "base 2x64x64 x4 training step fp32" in names
    table = lines[lines.index(benchmark_timing.HEADING) + 1 :]
    assert table == [benchmark_timing.table_line(benchmark_timing.Timing(**row)) for row in rows]
    assert sum(line.startswith("hardware: ") for line in lines) == 2
    assert sum(line.startswith("fp32: same logits") for line in lines) == 2


def test_base_is_the_published_network_with_the_cubic_kernel():
    cfg = benchmark_table._config("32", [])
    assert (cfg.UNIFORMER.DEPTH, cfg.UNIFORMER.LOCAL_KERNEL) == ([5, 8, 20, 7], [5, 5, 5])
    assert (cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE) == (32, 224)


def test_all_parts_in_one_table(tmp_path, capsys, monkeypatch):
    asked = []

    def part(name, *rows):
        return lambda opts, repeats: asked.append((name, opts, repeats)) or list(rows)

    time, memory = benchmark_timing.compare("t", 2.0, 1.0, 0.5), benchmark_memory.PeakMemory("m", 4.0, 1.0, 0.25)
    monkeypatch.setattr(benchmark_table, "PARTS", {"a": part("a", time), "b": part("b", memory)})
    out = tmp_path / "table.json"
    assert main(["table", "--repeats", "3", "--json", str(out), "RNG_SEED", "5"]) == 0
    assert asked == [("a", ["RNG_SEED", "5"], 3), ("b", ["RNG_SEED", "5"], 3)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [benchmark_timing.HEADING, benchmark_timing.table_line(time), memory.line()]
    assert json.loads(out.read_text()) == [
        {"name": "t", "plain_s": 2.0, "ours_s": 1.0, "ratio": 2.0, "limit_s": 0.5},
        {"name": "m", "plain_gib": 4.0, "ours_gib": 1.0, "ratio": 0.25},
    ]


def test_items_and_jobs_are_those_of_their_own_measurements(monkeypatch):
    monkeypatch.setattr(benchmark_table.benchmark_items, "measure", lambda repeats: [repeats])
    monkeypatch.setattr(benchmark_table.benchmark_jobs, "measure", lambda *, repeats: [repeats])
    monkeypatch.setattr(benchmark_table, "peak_memory", lambda cfg, batch, name: (cfg.DATA.NUM_FRAMES, batch, name))
    assert benchmark_table.items([], 4) == [4]
    assert benchmark_table.jobs([], 4) == [1], "a job is long enough"
    assert benchmark_table.memory([], 4) == [(32, 1, "base 32 frames x1 training step fp32")]


def test_an_unknown_part(capsys):
    assert main(["table", "--only", "short,none"]) == 2
    error = "error: --only 'none' is no part of the table; the parts: short, long, memory, items, jobs\n"
    assert capsys.readouterr().err == error
