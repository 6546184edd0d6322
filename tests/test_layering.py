"""Imports of the package go down floors or stay in one room, and ``cfg`` stops at ``build_*`` and ``from_config``.

The floors are those of the project's plan. The checker reads every import with ``ast``: at the top, in functions, under
``if TYPE_CHECKING``, absolute, relative, and ``import_module`` with a written name. It is itself tested first.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "uniformer_video"
FLOORS = {
    "runtime": 0,
    "config": 1,
    "video": 1,
    "transforms": 1,
    "models": 1,
    "solver": 1,
    "metrics": 1,
    "drawing": 1,
    "datasets": 2,
    "engine": 3,
    "prepare": 3,
    "tools": 4,
    "tests": 5,
}


def imported_modules(tree: ast.AST, module: tuple[str, ...], is_package: bool) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield ``(line, module)`` of everything imported, with relative names resolved.

    ``from a import b`` may name a module ``a.b`` or a thing in ``a``; it counts as ``a.b``: the room is right for both.

    Args:
        tree: the parsed file.
        module: its full name in parts, for example ``("uniformer_video", "video", "open")``.
        is_package: whether the file is an ``__init__.py``.
    """
    home = module if is_package else module[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = home[: len(home) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield node.lineno, (*base, alias.name)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, tuple(node.args[0].value.split("."))


def room_of(module: tuple[str, ...]) -> str | None:
    """Return the room a module of this project stands in; None for a foreign one and for the package's top."""
    if module[0] in ("tools", "tests"):
        return module[0]
    if module[0] == PACKAGE and len(module) > 1 and not module[1].startswith("__"):
        return module[1]
    return None


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return a line for each import of ``source`` that goes up, or across to another room of the same floor."""
    parts = tuple(module.split("."))
    here = room_of(parts) or "the top of the package"
    floor = FLOORS.get(here, -1)
    found = []
    for line, target in imported_modules(ast.parse(source), parts, is_package):
        there = room_of(target)
        if there is None or there == here:
            continue
        if there not in FLOORS:
            found.append(f"{module}:{line}: {'.'.join(target)} is in a room without a floor")
        elif FLOORS[there] >= floor:
            found.append(f"{module}:{line}: {here} (floor {floor}) imports {there} (floor {FLOORS[there]})")
    return found


def functions_that_take_cfg(source: str) -> list[str]:
    """Return the names of functions with a parameter ``cfg`` or one annotated as CfgNode, but for builders."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("build_") or node.name.endswith("from_config"):
            continue
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if any(a.arg == "cfg" or (a.annotation and "CfgNode" in ast.unparse(a.annotation)) for a in arguments):
            found.append(node.name)
    return found


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PACKAGE_FILES = sorted((ROOT / PACKAGE).rglob("*.py"))
TOOL_FILES = sorted((ROOT / "tools").rglob("*.py"))
LOW_ROOMS = {room for room, floor in FLOORS.items() if floor <= 1} - {"config"}
LOW_FILES = [p for p in PACKAGE_FILES if room_of(tuple(module_name(p).split("."))) in LOW_ROOMS]


class TestTheCheckerItself:
    @pytest.mark.parametrize(
        ("module", "source", "arrow"),
        [
            ("runtime.a", "import uniformer_video.models", "runtime (floor 0) imports models (floor 1)"),
            ("runtime.a", "import os, uniformer_video.video.pyav as v", "runtime (floor 0) imports video (floor 1)"),
            ("video.a", "from uniformer_video.config import load_config", "video (floor 1) imports config (floor 1)"),
            (
                "video.a",
                "from uniformer_video.transforms.clip import x",
                "video (floor 1) imports transforms (floor 1)",
            ),
            ("video.a", "from uniformer_video import engine", "video (floor 1) imports engine (floor 3)"),
            ("video.a", "from ..models import layers", "video (floor 1) imports models (floor 1)"),
            ("video.a", "from .. import models", "video (floor 1) imports models (floor 1)"),
            ("video.deep.a", "from ...solver import build", "video (floor 1) imports solver (floor 1)"),
            ("datasets.a", "from ..engine.trainer import Trainer", "datasets (floor 2) imports engine (floor 3)"),
            (
                "models.a",
                "def f():\n    import uniformer_video.solver.build",
                "models (floor 1) imports solver (floor 1)",
            ),
            (
                "models.a",
                "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from uniformer_video.datasets import records",
                "models (floor 1) imports datasets (floor 2)",
            ),
            (
                "metrics.a",
                "try:\n    pass\nfinally:\n    from uniformer_video.video import open",
                "metrics (floor 1) imports video (floor 1)",
            ),
            (
                "runtime.a",
                "import importlib\nimportlib.import_module('uniformer_video.engine.launch')",
                "runtime (floor 0) imports engine (floor 3)",
            ),
            ("runtime.a", "__import__('uniformer_video.config')", "runtime (floor 0) imports config (floor 1)"),
            ("engine.a", "from tools.run_net import main", "engine (floor 3) imports tools (floor 4)"),
            ("engine.a", "import tests.helpers", "engine (floor 3) imports tests (floor 5)"),
        ],
    )
    def test_an_arrow_up_or_across_is_caught(self, module, source, arrow):
        line = source.count("\n") + 1
        assert violations(source, f"{PACKAGE}.{module}") == [f"{PACKAGE}.{module}:{line}: {arrow}"]

    def test_the_init_of_a_room_is_one_level_higher_than_its_modules(self):
        assert violations("from . import layers", f"{PACKAGE}.models", is_package=True) == []
        assert violations("from .layers import x", f"{PACKAGE}.models", is_package=True) == []
        (found,) = violations("from ..engine import x", f"{PACKAGE}.models", is_package=True)
        assert found.endswith("models (floor 1) imports engine (floor 3)")

    def test_the_top_of_the_package_imports_no_room(self):
        (found,) = violations("from .runtime import errors", PACKAGE, is_package=True)
        assert found.endswith("the top of the package (floor -1) imports runtime (floor 0)")

    def test_a_room_without_a_floor_is_caught(self):
        (found,) = violations("from uniformer_video.zoo import x", f"{PACKAGE}.engine.a")
        assert found == f"{PACKAGE}.engine.a:1: {PACKAGE}.zoo.x is in a room without a floor"

    def test_every_bad_import_of_a_file_is_listed(self):
        source = "from uniformer_video.models import a, b\nimport uniformer_video.engine\n"
        assert [v.split(": ")[0] for v in violations(source, f"{PACKAGE}.video.a")] == [
            f"{PACKAGE}.video.a:{line}" for line in (1, 1, 2)
        ]

    @pytest.mark.parametrize(
        ("module", "source"),
        [
            ("video.a", "from uniformer_video.runtime.errors import UserError"),
            ("video.a", "from uniformer_video.video.reader import VideoReader"),
            ("video.a", "from .reader import VideoReader\nfrom . import open"),
            ("video.a", "from ..runtime import seed"),
            ("datasets.a", "from uniformer_video.video import open\nfrom uniformer_video.config import KEYS"),
            ("engine.a", "import uniformer_video\nfrom uniformer_video import __version__, datasets"),
            ("engine.a", "import models, engine, config\nfrom video import x\nfrom .launch import y"),
            ("runtime.a", "import torch.distributed\nfrom uniformer_video_extra import engine"),
            ("runtime.a", "text = 'from uniformer_video.engine import x'  # import uniformer_video.engine"),
        ],
    )
    def test_arrows_down_and_foreign_ones_are_free(self, module, source):
        assert violations(source, f"{PACKAGE}.{module}") == []

    def test_functions_that_take_cfg_are_found(self):
        source = (
            "def f(cfg): ...\nasync def g(*, cfg=None): ...\nclass C:\n    def __init__(self, node: 'CfgNode'): ...\n"
            "    @classmethod\n    def from_config(cls, cfg): ...\n"
            "def build_model(cfg): ...\ndef net_from_config(cfg): ...\ndef h(config): ...\n"
        )
        assert sorted(functions_that_take_cfg(source)) == ["__init__", "f", "g"]

    def test_there_is_something_to_check(self):
        rooms = {room_of(tuple(module_name(p).split("."))) for p in PACKAGE_FILES} - {None}
        assert rooms == set(FLOORS) - {"tools", "tests"}
        assert TOOL_FILES
        assert len(LOW_FILES) > 20


@pytest.mark.parametrize("path", [*PACKAGE_FILES, *TOOL_FILES], ids=module_name)
def test_imports_go_down(path):
    assert violations(path.read_text(encoding="utf-8"), module_name(path), path.name == "__init__.py") == []


@pytest.mark.parametrize("path", LOW_FILES, ids=module_name)
def test_cfg_stops_at_builders(path):
    module = tuple(module_name(path).split("."))
    source = path.read_text(encoding="utf-8")
    for line, target in imported_modules(ast.parse(source), module, path.name == "__init__.py"):
        assert target[:2] != (PACKAGE, "config"), f"{path}:{line} imports the configuration"
    assert functions_that_take_cfg(source) == []


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=module_name)
def test_the_package_needs_no_tool(path):
    # Tools import each other by bare names, which exist only while one of them runs.
    names = {p.stem for p in TOOL_FILES}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = imported_modules(tree, tuple(module_name(path).split(".")), path.name == "__init__.py")
    assert {target[0] for _, target in found} & names == set()
