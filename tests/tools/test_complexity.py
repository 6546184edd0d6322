"""The command line of complexity.py: what it prints and writes, and mistakes as one line."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from uniformer_video.config import load_config
from uniformer_video.models import complexity
from uniformer_video.models.activations import inference_activation_bytes
from uniformer_video.models.build import build_model
from uniformer_video.models.complexity import measure_size

TOOL = Path(__file__).resolve().parents[2] / "tools" / "complexity.py"
KINDS = ["linear", "depthwise convolution", "patch convolution", "attention product", "normalisation"]
TINY = (
    *("UNIFORMER.EMBED_DIM", "[8,16,24,32]", "UNIFORMER.DEPTH", "[1,1,2,1]", "UNIFORMER.HEAD_DIM", "8"),
    *("DATA.NUM_FRAMES", "4", "DATA.TRAIN_CROP_SIZE", "32", "DATA.TEST_CROP_SIZE", "64", "MODEL.NUM_CLASSES", "5"),
    *("TEST.NUM_ENSEMBLE_VIEWS", "4", "TEST.NUM_SPATIAL_CROPS", "3"),
)


def load_tool():
    spec = importlib.util.spec_from_file_location("complexity", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool()


@pytest.fixture(autouse=True)
def _threads_stay():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(capsys, *arguments):
    code = tool.main([*TINY, *arguments])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    return captured.out


def sizes():
    with torch.device("meta"):
        model = build_model(load_config(None, TINY))
    return measure_size(model, (3, 4, 64, 64))


class TestFigures:
    def test_text(self, capsys):
        lines = run(capsys, "--no-latency").splitlines()
        size = sizes()
        total = size.total_multiply_adds
        assert lines[0] == "network        Uniformer, clips of 3 x 4 x 64 x 64"
        assert lines[1] == f"parameters     {size.total_parameters / 1e6:.3f} M"
        views = f"{12 * total / 1e9:.2f} G for 4 clips x 3 crops"
        assert lines[2] == f"multiply-adds  {total / 1e9:.3f} G for one view, {views}"
        header, *rows = lines[4:12]
        assert header.split("  ")[-1] == "parameters"
        assert [cell.strip() for cell in header.split("  ") if cell.strip()] == [*KINDS, "all", "share", "parameters"]
        assert [row.split()[0] for row in rows] == ["stem", "stage1", "stage2", "stage3", "stage4", "head", "all"]
        for row, stage in zip(rows, [*size.stages, None], strict=True):
            cells = row.split("  ")
            cells = [cell.strip() for cell in cells if cell.strip()][1:]
            counts = [size.at(stage, kind) for kind in KINDS] + [size.at(stage)]
            assert cells[:6] == [f"{count / 1e9:.3f} G" for count in counts]
            assert cells[6] == f"{100 * size.at(stage) / total:.1f} %"
            parameters = size.total_parameters if stage is None else size.parameters[stage]
            assert cells[7] == f"{parameters / 1e6:.3f} M"
        assert len({len(row) for row in (header, *rows)}) == 1, "columns stand under each other"
        assert [line.split("  ")[0] for line in lines[13:]] == ["activations", "activations"]

    def test_json_has_every_figure(self, capsys, tmp_path):
        out = tmp_path / "new" / "cost.json"
        out.parent.mkdir()
        text = run(capsys, "--batch", "2", "--repeats", "1", "--threads", "1", "--json", str(out))
        figures, size = json.loads(out.read_text()), sizes()
        assert figures["network"] == "Uniformer" and figures["clip"] == [3, 4, 64, 64]
        assert figures["parameters"] == size.total_parameters == sum(figures["parameters_by_stage"].values())
        assert figures["multiply_adds"] == size.total_multiply_adds
        assert figures["multiply_adds_all_views"] == 12 * size.total_multiply_adds
        assert figures["multiply_adds_by_stage"] == {stage: size.at(stage) for stage in size.stages}
        assert figures["multiply_adds_by_kind"] == {kind: size.at(kind=kind) for kind in KINDS}
        assert (figures["batch"], figures["precision"], figures["device"]) == (2, "fp32", "cpu")
        assert (figures["repeats"], figures["threads"]) == (1, 1)
        assert figures["latency_s"] > 0
        training, inference = figures["activation_bytes_training"], figures["activation_bytes_inference"]
        assert (
            f"kept for the backward pass: {training / 2 / 2**20:.1f} MiB a clip, {training / 2**20:.1f} MiB for 2"
            in text
        )
        assert (
            f"most alive in inference: {inference / 2 / 2**20:.1f} MiB a clip, {inference / 2**20:.1f} MiB for 2"
            in text
        )
        latency, how = text.splitlines()[-2:]
        milliseconds = f"{1000 * figures['latency_s']:.2f} ms for a batch of 2"
        assert latency == f"latency        {milliseconds}, {2 / figures['latency_s']:.2f} clips/s"
        assert how.strip().startswith("median of 1 after 2; fp32; ")
        assert how.endswith(f", 1 threads; torch {torch.__version__}")
        assert [p.name for p in out.parent.iterdir()] == ["cost.json"]

    def test_no_latency_computes_nothing(self, capsys, monkeypatch):
        def refuse(*args, **kwargs):
            raise AssertionError("a network was built with memory")

        monkeypatch.setattr(tool, "measure_time", refuse)
        assert "latency" not in run(capsys, "--no-latency")

    def test_training_and_test_clips_have_their_own_size(self, capsys, tmp_path):
        figures = []
        for size in ("32", "64"):
            run(capsys, "--no-latency", "--json", str(tmp_path / "a.json"), "DATA.TRAIN_CROP_SIZE", size)
            figures.append(json.loads((tmp_path / "a.json").read_text()))
        small, large = figures
        assert large["activation_bytes_training"] > 3 * small["activation_bytes_training"]
        assert large["activation_bytes_inference"] == small["activation_bytes_inference"]
        assert large["multiply_adds"] == small["multiply_adds"]

    def test_recomputed_activations_are_less(self, capsys, tmp_path):
        found = []
        for on in ("False", "True"):
            checkpoint = ("MODEL.USE_CHECKPOINT", on, "MODEL.CHECKPOINT_NUM", "[1,1,2,1]")
            run(capsys, "--no-latency", "--json", str(tmp_path / "a.json"), *checkpoint)
            found.append(json.loads((tmp_path / "a.json").read_text())["activation_bytes_training"])
        assert found[1] < 0.6 * found[0]

    def test_bf16(self, capsys):
        text = run(capsys, "--precision", "bf16", "--repeats", "1")
        assert text.count("bf16") == 3

    @pytest.mark.parametrize(
        "settings",
        [
            ("MODEL.MODEL_NAME", "Uniformer_light"),
            ("UNIFORMER.SPLIT", "True"),
            ("UNIFORMER.IMAGE", "True", "DATA.NUM_FRAMES", "1"),
            ("UNIFORMER.CONV_STEM", "True", "UNIFORMER.LAYER_SCALE", "True"),
        ],
        ids=lambda settings: settings[0],
    )
    def test_any_configuration(self, capsys, settings):
        tiny = dict(zip(TINY[::2], TINY[1::2], strict=True)) | dict(zip(settings[::2], settings[1::2], strict=True))
        flat = [word for pair in tiny.items() for word in pair]
        assert tool.main(["--batch", "2", "--repeats", "1", *flat]) == 0
        text = capsys.readouterr().out
        assert "attention product" in text and "latency" in text

    def test_a_published_recipe(self, capsys):
        recipe = TOOL.parents[1] / "configs" / "Kinetics" / "uniformer_s8x8.yaml"
        assert tool.main(["--cfg", str(recipe), "--no-latency"]) == 0
        text = capsys.readouterr().out
        assert "multiply-adds  17.613 G for one view, 70.45 G for 4 clips x 1 crop\n" in text
        assert "parameters     21.400 M\n" in text


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--json", "."], "--json '.' is a folder; name a file"),
            (["--json", ""], "--json '' is empty; name a file"),
            *(
                (
                    ["--json", *setting],
                    f"--json needs a file, but {setting[0]} looks like a setting; write --json cost.json "
                    f"{setting[0]} ...",
                )
                for setting in (("DATA.NUM_FRAMES", "8"), ("NUM_GPUS", "0"), ("DATA.NUM_FRAME", "8"))
            ),
            (
                ["DATA.NUM_FRAMES", "1", "DATA.TRAIN_CROP_SIZE", "32"],
                "a batch norm cannot train on one position; set --batch 2 or more",
            ),
        ],
    )
    def test_one_line(self, arguments, message, capsys):
        assert tool.main(["--no-latency", *arguments]) == 2
        assert capsys.readouterr().err == f"error: {message}\n"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--batch", "0"], "--batch must be 1 or more, got 0"),
            (["--repeats", "0"], "--repeats must be 1 or more, got 0"),
            (["--threads", "-1"], "--threads must be 1 or more, got -1"),
            (["--precision", "fp16"], "--precision fp16 needs --device cuda; bf16 runs on both"),
        ],
    )
    def test_arguments(self, arguments, message, capsys):
        with pytest.raises(SystemExit, match="2"):
            tool.main(arguments)
        error = capsys.readouterr().err
        assert error.startswith(f"error: {message}; see ") and error.count("\n") == 1

    def test_missing_file_and_unknown_key(self, capsys):
        for arguments, word in ((["--cfg", "none.yaml"], "none.yaml"), (["UNIFORMER.DEPHT", "[1]"], "UNIFORMER.DEPTH")):
            assert tool.main(arguments) == 2
            error = capsys.readouterr().err
            assert error.startswith("error: ") and error.count("\n") == 1 and word in error

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    def test_cuda_where_there_is_none(self, capsys):
        assert tool.main(["--device", "cuda"]) == 2
        message = "error: --device cuda, but torch sees no CUDA device here; use --device cpu\n"
        assert capsys.readouterr().err == message

    def test_a_missing_folder_of_figures_is_refused_not_made(self, capsys, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(tool, "print_size", lambda *args: pytest.fail("measured first"))
        for path, folder in (("none/a.json", tmp_path / "none"), (f"{tmp_path}/a/b/c.json", tmp_path / "a" / "b")):
            assert tool.main(["--json", path, *TINY]) == 2
            assert capsys.readouterr().err == (
                f"error: --json {path!r}: there is no folder {str(folder)!r}; create it, or name a file in another\n"
            )
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["COST.JSON", "DATA/cost.json", "./DATA.JSON", "cost", "data.json"])
    def test_a_file_is_not_taken_for_a_setting(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "DATA").mkdir()
        tool.check_json(name)
        assert [p.name for p in tmp_path.iterdir()] == ["DATA"], "it creates nothing"

    def test_nothing_is_measured_when_the_file_cannot_be_written(self, capsys, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setattr(tool, "print_size", lambda *args: pytest.fail("measured first"))
        assert tool.main(["--json", str(tmp_path / "file" / "a.json"), *TINY]) == 2
        assert capsys.readouterr().err.startswith("error: --json ")


class TestTooLarge:
    LINE = "a batch of {} does not fit into memory"

    def error(self, capsys, *arguments):
        assert tool.main([*TINY, *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        return error.removeprefix("error: ").strip()

    def test_a_batch_above_all_memory_of_a_cpu_is_refused_before_it_is_tried(self, capsys, monkeypatch):
        monkeypatch.setattr(tool, "measure_time", lambda *args: pytest.fail("the system would have killed it"))
        monkeypatch.setattr(tool.os, "sysconf", {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": 2**19}.__getitem__)
        needed = inference_activation_bytes(
            build_model(load_config(None, TINY)), (10**5, 3, 4, 64, 64), device=torch.device("cpu")
        )
        assert self.error(capsys, "--batch", "100000", "--repeats", "1") == (
            f"{self.LINE.format(100000)}: it needs {needed / 2**30:.1f} GiB, this machine has 2.0 GiB; set a smaller "
            "--batch, or --no-latency"
        )

    def test_on_this_machine(self, capsys):
        error = self.error(capsys, "--batch", "100000000", "--repeats", "1")
        assert error.startswith(f"{self.LINE.format(100000000)}: it needs ")

    def test_the_figures_alone_need_no_memory(self, capsys):
        assert "MiB for 100000000, fp32" in run(capsys, "--batch", "100000000", "--no-latency")

    @pytest.mark.parametrize("batch", [10**16, 9 * 10**18, 10**20])
    def test_a_batch_above_what_torch_can_count(self, capsys, batch):
        assert self.error(capsys, "--batch", str(batch)) == f"{self.LINE.format(batch)}; set a smaller --batch"

    @pytest.mark.parametrize(
        "raised",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB. GPU 0 has a total of 8.00 GiB"),
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: y"),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            RuntimeError("CUDA error: out of memory"),
        ],
        ids=lambda error: str(error)[:20],
    )
    def test_what_torch_says_while_it_computes(self, capsys, monkeypatch, raised):
        def fail(*args, **kwargs):
            raise raised

        monkeypatch.setattr(complexity, "measure_latency", fail)
        error = self.error(capsys, "--batch", "3")
        assert error == f"{self.LINE.format(3)}; set a smaller --batch, or --no-latency"

    @pytest.mark.parametrize("raised", [RuntimeError("shapes cannot be multiplied"), TypeError("got an unexpected")])
    def test_a_defect_keeps_its_traceback(self, monkeypatch, raised):
        def fail(*args, **kwargs):
            raise raised

        monkeypatch.setattr(complexity, "measure_latency", fail)
        with pytest.raises(type(raised), match=str(raised)):
            tool.main([*TINY])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_batch_that_does_not_fit_into_a_gpu(capsys):
    assert tool.main([*TINY, "--device", "cuda", "--batch", "100000000", "--repeats", "1"]) == 2
    message = "a batch of 100000000 does not fit into memory; set a smaller --batch, or --no-latency"
    assert capsys.readouterr().err == f"error: {message}\n"


def test_help_runs_without_torch_and_shows_examples(tmp_path):
    code = "import sys, runpy; sys.argv = ['complexity.py', '--help']; sys.modules['torch'] = None\n"
    code += f"runpy.run_path({str(TOOL)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "python tools/complexity.py --cfg configs/Kinetics/uniformer_s8x8.yaml" in done.stdout
    assert "--no-latency" in done.stdout


def test_runs_as_a_program_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, str(TOOL), "--no-latency", *TINY], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("network ")
