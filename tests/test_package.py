"""What must hold for the whole house: it installs whole, files stay small, documents and recipes tell the truth."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from setuptools import find_packages

import uniformer_video
from uniformer_video.config import load_config
from uniformer_video.config.document import config_markdown
from uniformer_video.datasets.label_sets import LABEL_SETS

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


def declared_data() -> set[Path]:
    """Return the files beside the source that ``setup.py`` installs."""
    return {
        path
        for package, patterns in setup_arguments()["package_data"].items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }


def requirement_name(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement).group().lower()


class TestInstall:
    def test_every_folder_with_source_is_found_as_a_package(self):
        found = set(find_packages(str(ROOT), include=["uniformer_video", "uniformer_video.*"]))
        folders = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "uniformer_video").rglob("*.py")}
        assert found == folders
        assert "uniformer_video.runtime" in found

    def test_the_package_is_source_alone(self):
        # Source and what setup.py declares: a file of another kind would be missing after `pip install .`.
        files = [p for p in project_files() if p.is_relative_to(ROOT / "uniformer_video")]
        assert [name_of(p) for p in files if p.suffix != ".py" and p not in declared_data()] == []

    def test_every_declared_file_is_there_and_found(self):
        labels = ROOT / "uniformer_video" / "datasets" / "labels"
        assert {p.name for p in declared_data() if p.parent == labels} == {f"{name}.txt" for name in LABEL_SETS}
        for package, patterns in setup_arguments()["package_data"].items():
            for pattern in patterns:
                assert list(ROOT.joinpath(*package.split(".")).glob(pattern)), f"{package}: no {pattern}"

    def test_the_declared_files_are_installed(self, tmp_path):
        subprocess.run(
            [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            check=True,
            timeout=60,
        )
        for path in declared_data():
            assert (tmp_path / path.relative_to(ROOT)).read_bytes() == path.read_bytes()

    def test_the_version_is_read_from_the_package(self):
        assert re.fullmatch(r"\d+\.\d+\.\d+", uniformer_video.__version__)
        asked = subprocess.run(
            [sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert asked.stdout.split()[-1] == uniformer_video.__version__

    def test_everything_imported_is_required(self):
        arguments = setup_arguments()
        required = {requirement_name(r) for r in arguments["install_requires"]}
        # What a function imports may be left to an extra for users; those for developers do not count.
        optional = {name: rs for name, rs in arguments["extras_require"].items() if name not in ("test", "lint")}
        extras = {requirement_name(r) for requirements in optional.values() for r in requirements}
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

    def test_the_package_offers_the_predictor_when_it_is_asked_for(self):
        code = "import sys; from uniformer_video import Predictor; sys.exit(Predictor.__name__ != 'Predictor')"
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
            bases = yaml.safe_load(path.read_text(encoding="utf-8")).get("_BASE_", [])
            for base in [bases] if isinstance(bases, str) else bases:
                used.add((path.parent / base).resolve())
        assert {p.resolve() for p in CONFIGS if p.name.startswith("_")} <= used
        assert [str(p) for p in used if not p.exists()] == []
