"""A configuration from a file, its bases and a command line, with the source of every value."""

from __future__ import annotations

import ast
import copy
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from fvcore.common.config import CfgNode

from uniformer_video.config.defaults import KEYS, get_cfg, get_value, set_value
from uniformer_video.config.kinds import Text
from uniformer_video.config.validate import validate
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.paths import PATHS
from uniformer_video.runtime.registry import nearest

BASE_KEY = "_BASE_"
COMMAND_LINE = "command line"
PUBLISHED_DEFAULTS = {
    "UNIFORMER.LOCAL_KERNEL": [5, 5, 5],
    "SOLVER.CLIP_GRAD_L2NORM": 20.0,
    "TEST.MIXED_PRECISION": False,
}
"""What the published code does where its files say nothing, and this toolkit does otherwise."""
_PROVENANCE = "_provenance"
_ABSENT = object()
_SECTIONS = {name.rsplit(".", 1)[0]: None for name in KEYS if "." in name}

# What PyYAML raises on text that is not YAML, on a number or date that does not exist (2024-13-01), on a tag that does
# not fit its value, and on brackets nested a thousand deep.
_YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError)
# Kept as written where a key takes text: 007 and 2024-11-01 are good names of a folder.
_BARE_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp")}


class Change(NamedTuple):
    """A key whose value differs from its default. ``source`` is ``file:line`` or ``command line``."""

    key: str
    value: Any
    default: Any
    source: str


def load_config(path: str | os.PathLike[str] | None = None, overrides: Sequence[str] = ()) -> CfgNode:
    """Return the frozen, validated configuration of a run.

    Args:
        path: a YAML file; its ``_BASE_`` (a path or list of paths, relative to it) is read first. None: the defaults.
        overrides: ``KEY VALUE`` pairs in one flat list, as on a command line: ``["TRAIN.BATCH_SIZE", "4"]``.

    Raises:
        ConfigError: a file that is missing or not YAML, a key that is unknown or given twice with two values, a value
            of the wrong type or out of range, keys that contradict each other. The message names the file and line.
    """
    cfg = get_cfg()
    sources: dict[str, str] = {}
    if path is not None:
        _merge_file(cfg, Path(path), sources)
    _merge_overrides(cfg, overrides, sources)
    _fill_published(cfg, sources)
    validate(cfg)
    # CfgNode keeps attributes of its own (such as its frozen state) beside the keys, in __dict__; copies carry them on.
    cfg.__dict__[_PROVENANCE] = sources
    cfg.freeze()
    return cfg


def _fill_published(cfg: CfgNode, sources: dict[str, str]) -> None:
    """Give a published file the defaults that it was written for; MODEL.ARCH, which ours never set, tells it apart."""
    where = sources.get("MODEL.ARCH")
    if where is None or where == COMMAND_LINE:
        return
    for name, value in PUBLISHED_DEFAULTS.items():
        other = name == "SOLVER.CLIP_GRAD_L2NORM" and cfg.SOLVER.CLIP_GRAD_VAL is not None
        if name not in sources and not other:
            set_value(cfg, name, copy.deepcopy(value))
            sources[name] = f"{where}, the default of the published code"


def changes(cfg: CfgNode) -> list[Change]:
    """Return the keys of a loaded configuration that differ from their defaults, in the table's order."""
    sources = cfg.__dict__.get(_PROVENANCE, {})
    return [
        Change(name, value, key.default, sources.get(name, "set in code"))
        for name, key in KEYS.items()
        if (value := get_value(cfg, name)) != key.default
    ]


def source_of(cfg: CfgNode, name: str) -> str:
    """Return where a loaded configuration got a key from, ``file:line`` or ``command line``; empty: its default."""
    return cfg.__dict__.get(_PROVENANCE, {}).get(name, "")


def with_values(cfg: CfgNode, values: Mapping[str, Any], source: str) -> CfgNode:
    """Return a copy of a configuration with other values, frozen and validated; ``cfg`` stays as it is.

    Args:
        cfg: the configuration.
        values: by full key name.
        source: where they come from, which :func:`changes` and :func:`source_of` tell.

    Raises:
        ConfigError: a value that is not allowed, or keys that contradict each other.
    """
    copied = cfg.clone()
    copied.defrost()
    sources = dict(cfg.__dict__.get(_PROVENANCE, {}))
    for name, value in values.items():
        _assign(copied, name, value, source, sources)
    validate(copied)
    copied.__dict__[_PROVENANCE] = sources
    copied.freeze()
    return copied


def dump(cfg: CfgNode) -> str:
    """Return every key as YAML that :func:`load_config` reads back to an equal configuration."""
    tree: dict[str, Any] = {}
    for name in KEYS:
        *sections, last = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = get_value(cfg, name)
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=120)


def differences(cfg: CfgNode, text: str) -> list[str]:
    """Return what ``cfg`` has changed against an earlier :func:`dump`, as ``KEY: old -> new``, in the table's order.

    Keys that ``text`` does not have are passed over, as are texts that are no dump.
    """
    try:
        tree = yaml.safe_load(text)
    except _YAML_ERRORS:
        return []
    found = []
    for name in KEYS:
        old = tree
        for part in name.split("."):
            old = old.get(part, _ABSENT) if isinstance(old, dict) else _ABSENT
        new = get_value(cfg, name)
        if old is not _ABSENT and old != new:
            found.append(f"{name}: {old} -> {new}")
    return found


def _merge_file(
    cfg: CfgNode, path: Path, sources: dict[str, str], above: tuple[Path, ...] = (), named_at: str = ""
) -> None:
    """Merge a file's bases, then the file. ``above`` are the files it is a base of, ``named_at`` where it is named."""
    if path.resolve() in above:
        raise ConfigError(f"{named_at}: {BASE_KEY} leads back to {path}; a file cannot be its own base")
    entries = _read_yaml(path, f" ({BASE_KEY} of {named_at})" if named_at else "")
    bases, line = entries.pop(BASE_KEY, ([], 0))
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(b, str) for b in bases):
        raise ConfigError(
            f"{path}:{line}: {BASE_KEY} is {bases!r}; allowed: the path of a YAML file or a list of paths"
        )
    for base in bases:
        _merge_file(cfg, path.parent / base, sources, (*above, path.resolve()), f"{path}:{line}")
    for name, (value, line) in entries.items():
        _assign(cfg, name, value, f"{path}:{line}", sources)


def _read_yaml(path: Path, role: str) -> dict[str, tuple[Any, int]]:
    """Return the entries of a file as ``{full key name: (value, line)}``."""
    try:
        with PATHS.open(str(path), "r", encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        close = nearest(path.stem, (p.stem for p in path.parent.glob("*.yaml")))
        paths = [str(path.with_name(f"{stem}.yaml")) for stem in close]
        hint = f"did you mean {' or '.join(paths)}?" if paths else "see the folder configs/"
        raise ConfigError(f"config {path}{role}: no such file; {hint}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"config {path}{role}: cannot be read as text ({error})") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except _YAML_ERRORS as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not YAML ({getattr(error, 'problem', None) or error})") from None
    entries: dict[str, tuple[Any, int]] = {}
    if isinstance(root, yaml.MappingNode):
        _flatten(root, "", path, entries)
    elif root is not None and root.tag != "tag:yaml.org,2002:null":
        raise ConfigError(f"{path}:1: a config is made of `KEY: value` lines; see configs/Kinetics for examples")
    return entries


def _flatten(node: yaml.MappingNode, prefix: str, path: Path, entries: dict[str, tuple[Any, int]]) -> None:
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{path}:{line}: a list or mapping stands where the name of a key belongs")
        name = prefix + key_node.value
        # What a section holds is looked up key by key, so that each has its own line.
        if isinstance(value_node, yaml.MappingNode) and name in _SECTIONS:
            _flatten(value_node, name + ".", path, entries)
            continue
        try:
            value = _construct(name, value_node)
        except _YAML_ERRORS as error:
            reason = getattr(error, "problem", None) or error
            raise ConfigError(f"{path}:{line}: {name} has a value that is not plain YAML ({reason})") from None
        # Published files say some things twice (SOLVER.COSINE_AFTER_WARMUP); only two values leave a doubt. Compared as
        # written out, since True == 1 and nan != nan.
        if name in entries and repr(entries[name][0]) != repr(value):
            raise ConfigError(f"{path}:{line}: {name} stands already on line {entries[name][1]}; keep one of them")
        entries.setdefault(name, (value, line))


def _construct(name: str, node: yaml.Node) -> Any:
    if node.tag in _BARE_TAGS and name in KEYS and isinstance(KEYS[name].kind, Text):
        return node.value
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def _merge_overrides(cfg: CfgNode, overrides: Sequence[str], sources: dict[str, str]) -> None:
    if len(overrides) % 2:
        raise ConfigError(
            f"{COMMAND_LINE}: settings are KEY VALUE pairs, but {overrides[-1]!r} has no partner; "
            "for example: TRAIN.BATCH_SIZE 8 NUM_GPUS 0"
        )
    for name, text in zip(overrides[::2], overrides[1::2], strict=True):
        _assign(cfg, name, text, COMMAND_LINE, sources, from_text=True)


def _assign(
    cfg: CfgNode, name: str, value: Any, where: str, sources: dict[str, str], *, from_text: bool = False
) -> None:
    key = KEYS.get(name)
    if key is None:
        raise ConfigError(f"{where}: {_unknown(name)}")
    readings = _readings(value) if from_text and isinstance(value, str) else [value]
    for reading in readings:
        try:
            parsed = key.kind.parse(reading)
        except (ValueError, OverflowError):
            continue
        set_value(cfg, name, parsed)
        sources[name] = where
        return
    unit = f" ({key.unit})" if key.unit else ""
    raise ConfigError(f"{where}: {name} is {value!r}; allowed: {key.kind.describe()}{unit}")


def _readings(text: str) -> list[Any]:
    """Return what a word of a command line may mean: the word itself, then a Python literal.

    Not YAML, whose first edition takes 12:30 for 750 and 010 for 8.
    """
    readings: list[Any] = [text]
    with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        readings.append(ast.literal_eval(text))
    return readings


def _unknown(name: str) -> str:
    below = [k for k in KEYS if k.startswith(name + ".")]
    if below:
        return f"{name} is a section, not a key; its keys: {', '.join(below[:6])}{', ...' if len(below) > 6 else ''}"
    near = nearest(name, KEYS if "." in name else (*KEYS, *_SECTIONS))
    # A right key in the wrong section or with none is a common slip that spelling distance does not see.
    last = name.rsplit(".", 1)[-1].casefold()
    namesakes = [k for k in KEYS if k.rsplit(".", 1)[-1].casefold() == last]
    close = list(dict.fromkeys((*near[:1], *namesakes, *near[1:])))
    hint = f"did you mean {' or '.join(close[:3])}?" if close else "no known name is near."
    return f"unknown key {name}; {hint} All keys: docs/CONFIG.md"
