"""What must hold for the whole house: it installs whole, files stay small, documents and recipes tell the truth."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from setuptools import find_packages

import uniformer_video
from uniformer_video.config import get_value, load_config
from uniformer_video.config.document import config_markdown

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "uniformer_video").rglob("*.py"), *(ROOT / "tools").rglob("*.py")])
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
SKIPPED_FOLDERS = {
    ".git",
    ".venv",
    "__pycache__",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
    "build",
    "dist",
    "runs",
}

# Names by which packages are imported where they are not the names by which they are installed.
INSTALLED_AS = {"yaml": "pyyaml", "PIL": "pillow"}

# Written in halves, so that this file does not find itself.
PLACES = (
    "/wo" + "rk/",
    "/op" + "t/",
    "/tmp/" + "spec",
    "/fa" + "rm/",
    "/tmp/bash_" + "jobs",
    "/ho" + "me/",
    "/ro" + "ot/",
)
PLACE = re.compile(r"(?<![\w.-])(?:" + "|".join(map(re.escape, PLACES)) + ")")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def project_files() -> list[Path]:
    """Return the files that git tracks or would; without git (an unpacked archive), all but what is ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        paths = [ROOT / name for name in listing.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [p for p in ROOT.rglob("*") if not SKIPPED_FOLDERS & set(p.relative_to(ROOT).parts)]
    return sorted(p for p in paths if p.is_file())


def setup_arguments() -> dict:
    """Return the written arguments of ``setup()``, and None for those that are computed."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (call,) = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "setup")
    arguments = {}
    for keyword in call.keywords:
        try:
            arguments[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            arguments[keyword.arg] = None
    return arguments


def requirement_name(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement).group().lower()


class TestInstall:
    def test_every_folder_with_source_is_found_as_a_package(self):
        found = set(find_packages(str(ROOT), include=["uniformer_video", "uniformer_video.*"]))
        folders = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "uniformer_video").rglob("*.py")}
        assert found == folders
        assert "uniformer_video.runtime" in found

    def test_the_package_is_source_alone(self):
        # A file of another kind would be missing after `pip install .` until setup.py names it as package data.
        files = [p for p in project_files() if p.is_relative_to(ROOT / "uniformer_video")]
        assert [name_of(p) for p in files if p.suffix != ".py"] == []

    def test_the_version_is_read_from_the_package(self):
        assert re.fullmatch(r"\d+\.\d+\.\d+", uniformer_video.__version__)
        asked = subprocess.run(
            [sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert asked.stdout.split()[-1] == uniformer_video.__version__

    def test_everything_imported_is_required(self):
        arguments = setup_arguments()
        required = {requirement_name(r) for r in arguments["install_requires"]}
        extras = {requirement_name(r) for r in arguments["extras_require"]["tensorboard"]}
        for path in sorted((ROOT / "uniformer_video").rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    modules = [node.module]
                else:
                    continue
                for top in {m.split(".")[0] for m in modules} - set(sys.stdlib_module_names) - {"uniformer_video"}:
                    wanted = INSTALLED_AS.get(top, top)
                    allowed = required if node.col_offset == 0 else required | extras
                    assert wanted in allowed, (
                        f"{name_of(path)}:{node.lineno} imports {top}, which setup.py does not name"
                    )

    def test_importing_the_package_costs_nothing(self):
        code = "import sys, uniformer_video; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


class TestFiles:
    @pytest.mark.parametrize("path", SOURCES, ids=name_of)
    def test_no_file_has_more_than_300_lines(self, path):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300

    @pytest.mark.parametrize("path", SOURCES, ids=name_of)
    def test_no_function_is_longer_than_a_screen(self, path):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
        assert [f.name for f in functions if f.end_lineno - f.lineno >= 80] == []

    @pytest.mark.parametrize("place", PLACES)
    def test_a_place_of_one_machine_is_seen(self, place):
        for line in (f"cd {place}x", f"--cfg={place}a.yaml", f'open("{place}a")', f"file://{place}a"):
            assert PLACE.search(line)
        assert not PLACE.search("data/wo" + "rk/a runs/ro" + "ot/b ../ho" + "me/c")

    def test_no_text_file_names_a_place_of_one_machine(self):
        files = project_files()
        assert ROOT / "setup.py" in files
        found = []
        for path in files:
            data = path.read_bytes()
            if b"\0" in data:
                continue
            for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
                if PLACE.search(line):
                    found.append(f"{name_of(path)}:{number}: {line.strip()[:100]}")
        assert found == []

    def test_text_files_are_utf8_and_end_with_one_line_end(self):
        for path in (p for p in project_files() if p.suffix in (".py", ".yaml", ".md", ".toml", ".txt")):
            text = path.read_bytes().decode("utf-8")
            assert "\r" not in text, name_of(path)
            assert text == "" or (text.endswith("\n") and not text.endswith("\n\n")), name_of(path)


def test_the_document_of_keys_is_up_to_date():
    text = (ROOT / "docs" / "CONFIG.md").read_text(encoding="utf-8")
    assert text == config_markdown(), "run `make docs`"


# Published settings of Kinetics-400, frames x stride of UniFormer-S and -B.
SMALL, BASE = [3, 4, 8, 3], [5, 8, 20, 7]
PUBLISHED = {
    # frames, stride, depth, drop depth, batch, rate, epochs
    "uniformer_s8x8": (8, 8, SMALL, 0.1, 128, 4e-4, 100),
    "uniformer_s16x4": (16, 4, SMALL, 0.1, 32, 1e-4, 110),
    "uniformer_b8x8": (8, 8, BASE, 0.3, 64, 2e-4, 100),
    "uniformer_b16x4": (16, 4, BASE, 0.3, 40, 1.25e-4, 110),
    "uniformer_b32x4": (32, 4, BASE, 0.3, 32, 1e-4, 110),
}
COMMON = {
    "TRAIN.DATASET": "kinetics",
    "TEST.DATASET": "kinetics",
    "DATA.USE_OFFSET_SAMPLING": True,
    "DATA.RANDOM_FLIP": True,
    "DATA.TRAIN_CROP_SIZE": 224,
    "DATA.TEST_CROP_SIZE": 224,
    "DATA.TRAIN_JITTER_SCALES": [256, 320],
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": [0.08, 1.0],
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": [0.75, 1.3333],
    "DATA.MEAN": [0.45, 0.45, 0.45],
    "DATA.STD": [0.225, 0.225, 0.225],
    "MODEL.MODEL_NAME": "Uniformer",
    "MODEL.NUM_CLASSES": 400,
    "MODEL.LOSS_FUNC": "soft_cross_entropy",
    "UNIFORMER.EMBED_DIM": [64, 128, 320, 512],
    "UNIFORMER.HEAD_DIM": 64,
    "UNIFORMER.MLP_RATIO": 4.0,
    "UNIFORMER.SPLIT": False,
    "UNIFORMER.STD": False,
    "UNIFORMER.QKV_BIAS": True,
    "UNIFORMER.QKV_SCALE": None,
    "TRAIN.CHECKPOINT_INFLATE": "average",
    "SOLVER.OPTIMIZING_METHOD": "adamw",
    "SOLVER.BASE_LR_SCALE_NUM_SHARDS": True,
    "SOLVER.LR_POLICY": "cosine",
    "SOLVER.COSINE_END_LR": 1e-6,
    "SOLVER.COSINE_AFTER_WARMUP": True,
    "SOLVER.WARMUP_EPOCHS": 10.0,
    "SOLVER.WARMUP_START_LR": 1e-6,
    "SOLVER.WEIGHT_DECAY": 0.05,
    "SOLVER.ZERO_WD_1D_PARAM": True,
    "SOLVER.CLIP_GRAD_L2NORM": 20.0,
    "AUG.ENABLE": True,
    "AUG.NUM_SAMPLE": 2,
    "AUG.AA_TYPE": "rand-m7-n4-mstd0.5-inc1",
    "AUG.RE_PROB": 0.25,
    "AUG.RE_MODE": "pixel",
    "AUG.RE_COUNT": 1,
    "MIXUP.ENABLE": True,
    "MIXUP.ALPHA": 0.8,
    "MIXUP.CUTMIX_ALPHA": 1.0,
    "MIXUP.PROB": 1.0,
    "MIXUP.SWITCH_PROB": 0.5,
    "MIXUP.LABEL_SMOOTH_VALUE": 0.1,
    "TEST.NUM_ENSEMBLE_VIEWS": 4,
    "TEST.NUM_SPATIAL_CROPS": 1,
    "TEST.ENSEMBLE_METHOD": "sum",
    "TEST.ENSEMBLE_SCORE": "logits",
    "NUM_SHARDS": 1,
    "RNG_SEED": 6666,
}
OWN = (
    "DATA.NUM_FRAMES",
    "DATA.SAMPLING_RATE",
    "UNIFORMER.DEPTH",
    "UNIFORMER.DROP_DEPTH_RATE",
    "TRAIN.BATCH_SIZE",
    "SOLVER.BASE_LR",
    "SOLVER.MAX_EPOCH",
)


class TestRecipes:
    @pytest.mark.parametrize("path", [p for p in CONFIGS if not p.name.startswith("_")], ids=name_of)
    def test_every_recipe_loads(self, path):
        cfg = load_config(path)
        assert cfg.OUTPUT_DIR.startswith("runs/"), "a recipe writes below runs/, which git ignores"
        assert cfg.DATA.PATH_TO_DATA_DIR == "" or not Path(cfg.DATA.PATH_TO_DATA_DIR).is_absolute()

    def test_no_two_recipes_write_to_one_folder(self):
        folders = [load_config(p).OUTPUT_DIR for p in CONFIGS if not p.name.startswith("_")]
        assert len(folders) == len(set(folders))

    def test_a_name_with_an_underscore_is_a_base_of_another_file(self):
        used = set()
        for path in CONFIGS:
            for line in path.read_text(encoding="utf-8").splitlines():
                if line.startswith("_BASE_:"):
                    used.add((path.parent / line.split(":", 1)[1].strip()).resolve())
        assert {p.resolve() for p in CONFIGS if p.name.startswith("_")} <= used

    def test_the_six_of_kinetics_are_there(self):
        names = {p.stem for p in CONFIGS if p.parent.name == "Kinetics" and not p.name.startswith("_")}
        assert names >= {*PUBLISHED, "uniformer_b8x32"}

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_published_values(self, name):
        cfg = load_config(ROOT / "configs" / "Kinetics" / f"{name}.yaml")
        expected = {**COMMON, **dict(zip(OWN, PUBLISHED[name], strict=True)), "UNIFORMER.LOCAL_KERNEL": [5, 5, 5]}
        assert {key: get_value(cfg, key) for key in expected} == expected

    def test_b8x32_is_b8x8_with_this_projects_kernel_and_a_wider_stride(self):
        cfg = load_config(ROOT / "configs" / "Kinetics" / "uniformer_b8x32.yaml")
        expected = {**COMMON, **dict(zip(OWN, PUBLISHED["uniformer_b8x8"], strict=True))}
        expected |= {"DATA.SAMPLING_RATE": 32, "UNIFORMER.LOCAL_KERNEL": [3, 5, 5]}
        assert {key: get_value(cfg, key) for key in expected} == expected

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_the_rate_goes_with_the_batch(self, name):
        # 1e-4 for 32 videos on Kinetics, to the rounding of the published figures.
        *_, batch, rate, _ = PUBLISHED[name]
        assert rate == pytest.approx(1e-4 * batch / 32)
