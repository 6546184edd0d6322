"""What a user reads at the end."""

from __future__ import annotations

from uniformer_video.prepare.prepared import Bad, PreparedSet, Video
from uniformer_video.prepare.summary import bad_lines, class_table, next_command
from uniformer_video.video.probe import Probe


def prepared(names, *videos, several=False):
    return PreparedSet([Video(str(n), f"/{n}", v[0], v[1], Probe("")) for n, v in enumerate(videos)], names, several)


def test_a_table():
    table = class_table(prepared(["run", "long jump"], ((0,), "train"), ((0,), "val"), ((1,), "train")))
    assert table == [
        "class       train     val    test     all",
        "run             1       1       0       2",
        "long jump       1       0       0       1",
        "all             2       1       0       3",
    ]


def test_a_video_of_two_classes_is_one_video():
    table = class_table(prepared(["a", "b"], ((0, 1), "train"), several=True))
    assert [line.split()[-1] for line in table[1:]] == ["1", "1", "1"]
    assert table[-1].startswith("all videos ")


def test_many_classes_and_long_names():
    names = ["x" * 100, "tab\there", *(f"c{n}" for n in range(60))]
    table = class_table(prepared(names, ((0,), "train")))
    assert len(table) == 1 + 40 + 1 + 1
    assert table[1].split()[0] == "x" * 37 + "..."
    assert table[2].startswith("tab?here")
    assert table[-2] == "... and 22 more classes: all are in dataset.json"
    assert len({len(line) for line in table[:-2]}) == 1


def test_bad_files_by_kind_with_the_first_of_each():
    bad = [Bad("/a", "empty", "the file is empty"), *(Bad(f"/b{n}", "damaged", f"reason {n}") for n in range(12))]
    assert bad_lines(bad) == [
        "  12 damaged, such as /b0: reason 0",
        "   1 empty, such as /a: the file is empty",
    ]


def test_names_that_would_order_a_terminal_about():
    assert bad_lines([Bad("/\x1b[2J\n", "path", "x")]) == ["  1 path, such as /?[2J?: x"]


def test_the_next_command_can_be_copied():
    start = "python tools/run_net.py --cfg configs/finetune.yaml DATA.PATH_TO_DATA_DIR "
    assert next_command("data/mine/") == start + "data/mine/ OUTPUT_DIR runs/mine"
    assert next_command("my data") == start + "'my data' OUTPUT_DIR 'runs/my data'"
