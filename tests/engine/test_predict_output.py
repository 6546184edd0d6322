"""Tables, JSON, CSV, features and file names."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import simplejson
import torch

from tests.engine.test_timeline import timeline
from uniformer_video.engine import predict_output as output
from uniformer_video.engine.predict_inputs import Input
from uniformer_video.engine.prediction import Prediction
from uniformer_video.runtime.errors import WriteError
from uniformer_video.video.reader import DecodeError

NAMES = ("red", "green", "blue")
FOUND = Prediction("v/a.mp4", torch.tensor([0.125, 0.75, 0.125]), NAMES)
SEVERAL = Prediction("v/b.mp4", torch.tensor([0.6, 0.2, 0.9]), NAMES, multi_label=True)
BROKEN = DecodeError("v/c.mp4", "cut off")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("2",), "blue"),
        (("0", "2"), "red, blue"),
        (("red",), "red"),
        (("7",), "7"),
        ((), ""),
        (("0", "x"), "0, x"),
        (("run, fast",), "run, fast"),
    ],
)
def test_the_classes_that_labels_mean(labels, names):
    assert output.true_names(labels, NAMES) == names
    assert output.true_names(labels, None) == ", ".join(labels)


def test_right_and_wrong():
    assert output.is_right(FOUND, ["1"])
    assert output.is_right(FOUND, ["Green"])
    assert output.is_right(FOUND, ["red", "green"])
    assert output.is_right(FOUND, ["0", "1"])
    assert not output.is_right(FOUND, ["2"])
    assert not output.is_right(FOUND, ["2", "0"])
    assert not output.is_right(FOUND, ["something else"])
    assert not output.is_right(FOUND, ["green, red"])
    assert output.is_right(Prediction("a", torch.tensor([0.1, 0.9])), ["1"])


def test_table():
    lines = output.table(Input("v/a.mp4"), FOUND, 2, 44, unicode=True)
    assert lines == [
        "v/a.mp4",
        "  green  ████████████████████▎        75.0 %",
        "  red    ███▍                         12.5 %",
    ]
    assert output.table(Input("v/a.mp4", ("2",)), FOUND, 1, 44, unicode=True)[0] == "v/a.mp4  (wrong: blue)"
    assert output.table(Input("v/a.mp4", ("1",)), FOUND, 1, 44, unicode=True)[0] == "v/a.mp4  (right: green)"
    long = output.table(Input("folder/" * 20 + "a.mp4"), FOUND, 1, 44, unicode=True)[0]
    assert len(long) == 44
    assert long.startswith("folder/") and long.endswith("a.mp4")


def test_table_of_several_labels_marks_those_that_are_there():
    lines = output.table(Input("v/b.mp4", ("0", "1")), SEVERAL, 5, 50, unicode=False)
    assert lines[0] == "v/b.mp4  (true: red, green)"
    assert [line[:9] for line in lines[1:]] == ["  * blue ", "  * red  ", "    green"]
    assert all(line.isascii() for line in lines)


def test_table_of_a_timeline():
    line = timeline([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.7, 0.2]])
    lines = output.timeline_table(line, 80, unicode=True)
    assert lines[0] == "a.mp4"
    assert lines[1].split() == ["0.0", "-", "2.5", "s", "red", lines[1].split()[5], "70.0", "%"]
    assert len(lines) == 3
    many = timeline([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]] * 30)
    assert output.timeline_table(many, 80, unicode=True)[-1] == "  and 20 more"
    nothing = timeline([[0.1, 0.1, 0.1]], several=True)
    assert output.timeline_table(nothing, 80, unicode=True)[1] == "  no class reaches 0.5 at any time"


def test_json_entries():
    assert output.json_entry(Input("v/a.mp4", ("2",)), FOUND, 1) == {
        "path": "v/a.mp4",
        "label": "2",
        "top": [{"class": 1, "name": "green", "score": 0.75}],
        "error": None,
    }
    assert output.json_entry(Input("v/c.mp4"), BROKEN, 1) == {"path": "v/c.mp4", "top": [], "error": "cut off"}
    assert output.json_entry(Input("v/b.mp4"), SEVERAL, 1)["labels"] == ["blue", "red"]
    assert output.json_entry(Input("v/b.mp4", ("0", "2")), SEVERAL, 1)["label"] == "0|2"
    text = output.json_text({"name": "schön", "nan": float("nan")})
    assert "schön" in text
    assert simplejson.loads(text) == {"name": "schön", "nan": None}


def rows(results, top=5):
    return list(csv.DictReader(io.StringIO(output.csv_text(results, top))))


def test_csv():
    found = rows([(Input("v/a.mp4"), FOUND), (Input("v/c.mp4"), BROKEN)], 2)
    assert found[0] == {
        "path": "v/a.mp4",
        "top1_class": "1",
        "top1_name": "green",
        "top1_score": "0.750000",
        "top2_class": "0",
        "top2_name": "red",
        "top2_score": "0.125000",
        "error": "",
    }
    assert found[1]["error"] == "cut off"
    assert {value for key, value in found[1].items() if key.startswith("top")} == {""}
    labelled = rows([(Input("v/a.mp4", ("2",)), FOUND), (Input("v/b.mp4"), SEVERAL)])
    assert [row["label"] for row in labelled] == ["2", ""]
    assert [row["labels"] for row in labelled] == ["green", "blue|red"]
    # As the test's predictions.csv has them.
    assert rows([(Input("v/b.mp4", ("0", "2")), SEVERAL)])[0]["label"] == "0|2"
    bare = rows([(Input("a"), Prediction("a", torch.tensor([0.25, 0.75])))])
    assert list(bare[0]) == ["path", "top1_class", "top1_score", "top2_class", "top2_score", "error"]
    assert rows([(Input("c"), BROKEN)], 1) == [{"path": "c", "top1_class": "", "top1_score": "", "error": "cut off"}]


def test_a_folder_that_cannot_be_made_for_features(tmp_path):
    (tmp_path / "f").touch()
    with pytest.raises(WriteError, match=r"f' cannot be written \(File exists\); check the folder"):
        output.write_features([("a.mp4", np.zeros(2, np.float32))], str(tmp_path / "f"))


def test_writing_out(tmp_path, capsys):
    output.write_out("text\n", str(tmp_path / "a.json"))
    assert (tmp_path / "a.json").read_text() == "text\n"
    output.write_out("text\n", "-")
    assert capsys.readouterr().out == "text\n"
    with pytest.raises(WriteError, match=r"a.json' cannot be written \(No such file or directory\)"):
        output.write_out("text", str(tmp_path / "no" / "a.json"))


def test_lines_that_a_terminal_has_no_signs_for():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    output.print_lines(["█ schön \udcff"], stream)
    assert raw.getvalue() == b"? sch?n ?\n"


class TestFeatures:
    RESULTS = (("v/a.mp4", np.array([1.0, 2.0], np.float32)), ("w/a.mp4", np.array([3.0, 4.0], np.float32)))

    def test_npz(self, tmp_path):
        output.write_features(self.RESULTS, str(tmp_path / "f.npz"))
        with np.load(tmp_path / "f.npz") as content:
            assert content["features"].tolist() == [[1, 2], [3, 4]]
            assert content["features"].dtype == np.float32
            assert content["paths"].tolist() == ["v/a.mp4", "w/a.mp4"]

    def test_npy_and_the_paths_beside_it(self, tmp_path):
        output.write_features(self.RESULTS, str(tmp_path / "f.npy"))
        assert np.load(tmp_path / "f.npy").tolist() == [[1, 2], [3, 4]]
        assert (tmp_path / "f.txt").read_text() == "v/a.mp4\nw/a.mp4\n"

    def test_a_folder(self, tmp_path):
        output.write_features(self.RESULTS, str(tmp_path / "f"))
        assert sorted(path.name for path in (tmp_path / "f").iterdir()) == ["v_a.npy", "w_a.npy"]
        assert np.load(tmp_path / "f" / "w_a.npy").tolist() == [3, 4]

    def test_none(self, tmp_path):
        output.write_features([], str(tmp_path / "f.npz"))
        with np.load(tmp_path / "f.npz") as content:
            assert content["features"].shape == (0, 0)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.mp4", "b.tar.mp4", "frames", ".hidden"], ["a", "b.tar", "frames", ".hidden"]),
        (["x/a.mp4", "y/a.mp4", "z/b.mp4"], ["x_a", "y_a", "b"]),
        (["p/x/a.mp4", "q/x/a.mp4"], ["p_x_a", "q_x_a"]),
        (["a.mp4", "a.avi", "a.mkv"], ["a", "a_2", "a_3"]),
        (["a.mp4", "a.avi", "a_2.mp4", "a_2.avi"], ["a", "a_2", "a_2_2", "a_2_3"]),
        (["a_2.mp4", "a.mp4", "a.avi"], ["a_2", "a", "a_3"]),
        (["x" * 250 + ".mp4", "ö" * 101, "x" * 201], ["x" * 200, "ö" * 100, "x" * 200 + "_2"]),
        (["https://host/v/clip.mp4?x=1", "/"], ["clip", "video"]),
        ([r"c:\videos\a.mp4"], ["a"]),
    ],
)
def test_names_of_files(paths, names):
    assert output.output_names(paths) == names
