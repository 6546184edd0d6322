"""Where a process stands in a run of several: as torchrun, srun, ``env://`` or the command line say.

Nothing here talks to anyone: the environment comes in, a :class:`Place` or one line for the user goes out. What counts:

- torchrun's variables, where it has set ``TORCHELASTIC_RUN_ID``: they are whole, or the run ends with a line.
- ``RANK`` and ``WORLD_SIZE`` by themselves only with ``--init_method env://``: many tools leave them behind.
- SLURM's, where srun has started several tasks: those of the *step*, which an sbatch script does not have and which are
  1 in the shell of ``srun --pty``. An ``--init_method`` of the command line is heeded before them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from uniformer_video.runtime.errors import ConfigError

AGENT = "agent://"
"""Scheme of a meeting place for which torchrun's agent keeps a store already."""
MOST_HOSTS = 100_000
_LOWEST_PORT, _PORTS = 10_000, 22_000
"""Below the ports that Linux gives out by itself (from 32768)."""


@dataclass(frozen=True)
class Place:
    """Where a process stands.

    Attributes:
        launcher: who has started the processes: ``torchrun``, ``srun``, ``env://``; empty: the command line, once on
            each machine.
        machines: in the run, each with the same number of processes.
        machine: number of this one, from 0.
        processes: that the launcher has started on each machine; 0: one, which starts those that are needed itself.
        local: number of this process on its machine.
        meeting: where the processes meet, ``tcp://host:port``, ``file:///path`` or ``agent://host:port``; empty: they
            need not.
    """

    launcher: str = ""
    machines: int = 1
    machine: int = 0
    processes: int = 0
    local: int = 0
    meeting: str = ""


def find_place(environ: Mapping[str, str], *, init_method: str = "", machines: int = 1, machine: int = 0) -> Place:
    """Return the place of this process.

    Args:
        environ: the environment variables.
        init_method: of the command line.
        machines: NUM_SHARDS; 1 is as good as not said.
        machine: SHARD_ID.

    Raises:
        ConfigError: variables that are missing, no numbers or contradict each other or the arguments.
    """
    if "TORCHELASTIC_RUN_ID" in environ:
        place = _of_torchrun(environ, init_method)
    elif init_method == "env://":
        place = _of_variables(environ, machines, machine)
    elif not init_method and _is_srun(environ):
        place = _of_srun(environ)
    else:
        return Place(machines=machines, machine=machine, meeting=init_method)
    if machines > 1 and (machines, machine) != (place.machines, place.machine):
        raise ConfigError(
            f"NUM_SHARDS is {machines} and SHARD_ID {machine}, but {place.launcher} says that this is machine "
            f"{place.machine} of {place.machines}; leave --num_shards and --shard_id out, or start {machines} machines"
        )
    return place


def _of_torchrun(environ: Mapping[str, str], init_method: str) -> Place:
    if init_method not in ("", "env://"):
        raise ConfigError(
            f"--init_method is {init_method!r}, but torchrun says where the processes meet; leave it out (where "
            "torchrun did not start this run, unset the variable TORCHELASTIC_RUN_ID, which is left over)"
        )
    world, rank = _number(environ, "WORLD_SIZE", 1), _number(environ, "RANK")
    processes, local = _number(environ, "LOCAL_WORLD_SIZE", 1), _number(environ, "LOCAL_RANK")
    machines, machine = _number(environ, "GROUP_WORLD_SIZE", 1), _number(environ, "GROUP_RANK")
    if world != machines * processes or rank != machine * processes + local:
        raise ConfigError(
            f"torchrun started {world} processes on {machines} machines, {processes} of them here; every machine must "
            "have the same number: give each the same --nproc_per_node"
        )
    scheme = AGENT if environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else "tcp://"
    return Place("torchrun", machines, machine, processes, local, scheme + _master(environ) if world > 1 else "")


def _of_variables(environ: Mapping[str, str], machines: int, machine: int) -> Place:
    """Return the place that RANK and WORLD_SIZE give; MASTER_ADDR and MASTER_PORT alone are where to meet."""
    if "RANK" not in environ and "WORLD_SIZE" not in environ and machines > 1:
        return Place("env://", machines, machine, meeting="tcp://" + _master(environ))
    world, rank = _number(environ, "WORLD_SIZE", 1), _number(environ, "RANK")
    if "LOCAL_WORLD_SIZE" in environ:
        processes = _number(environ, "LOCAL_WORLD_SIZE", 1)
    else:
        processes = max(1, world // machines)
    local = rank % processes
    if world % processes or rank >= world or _number(environ, "LOCAL_RANK", default=local) != local:
        raise ConfigError(
            f"RANK {rank}, WORLD_SIZE {world}, LOCAL_RANK {environ.get('LOCAL_RANK', 'unset')} and {processes} "
            "processes on each machine (LOCAL_WORLD_SIZE, else WORLD_SIZE / NUM_SHARDS) contradict each other; RANK is "
            "(number of the machine) * LOCAL_WORLD_SIZE + LOCAL_RANK"
        )
    meeting = "tcp://" + _master(environ) if world > 1 else ""
    return Place("env://", world // processes, rank // processes, processes, local, meeting)


def _is_srun(environ: Mapping[str, str]) -> bool:
    return environ.get("SLURM_STEP_NUM_TASKS", "1") != "1" and "SLURM_PROCID" in environ


def _of_srun(environ: Mapping[str, str]) -> Place:
    tasks, machines = _number(environ, "SLURM_STEP_NUM_TASKS", 1), _number(environ, "SLURM_STEP_NUM_NODES", 1)
    machine, local = _number(environ, "SLURM_NODEID"), _number(environ, "SLURM_LOCALID")
    counts = tasks_per_node(_text(environ, "SLURM_STEP_TASKS_PER_NODE"))
    if len(set(counts)) != 1 or len(counts) != machines or sum(counts) != tasks:
        raise ConfigError(
            f"srun started {tasks} tasks on {machines} nodes, {environ['SLURM_STEP_TASKS_PER_NODE']} on each; every "
            "node must have the same number: use --ntasks-per-node"
        )
    if machine >= machines or local >= counts[0]:
        raise ConfigError(
            f"SLURM_NODEID is {machine} and SLURM_LOCALID {local} in a step of {machines} nodes with {counts[0]} tasks "
            "each; start the run anew with srun, or name a meeting place with --init_method"
        )
    host = expand_hosts(_text(environ, "SLURM_STEP_NODELIST"))[0]
    port = job_port(_text(environ, "SLURM_JOB_ID"), environ.get("SLURM_STEP_ID", "0"))
    # One task on a node is PySlowFast's way: it starts a process for each GPU itself.
    processes = counts[0] if counts[0] > 1 else 0
    return Place("srun", machines, machine, processes, local, f"tcp://{host}:{port}")


def job_port(job: str, step: str) -> int:
    """Return the port on which the tasks of a SLURM step meet: the same in all of them, another for another step."""
    return _LOWEST_PORT + zlib.crc32(f"{job}.{step}".encode()) % _PORTS


def tasks_per_node(text: str) -> list[int]:
    """Return the tasks on each node from SLURM's short form: ``2(x3),1`` is ``[2, 2, 2, 1]``.

    Raises:
        ConfigError: another form.
    """
    counts: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if found is None or int(found[2] or 1) > MOST_HOSTS:
            raise ConfigError(f"SLURM_STEP_TASKS_PER_NODE is {text!r}; it looks like 2(x3),1")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def expand_hosts(text: str) -> list[str]:
    """Return the names in SLURM's short form of a list of nodes: ``n[03-05,9],gpu1`` is ``n03 n04 n05 n9 gpu1``.

    Raises:
        ConfigError: another form, or more than :data:`MOST_HOSTS` names.
    """
    hosts: list[str] = []
    for part in re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+|[,\[\]]", text):
        if part == ",":
            continue
        names = [""]
        for piece in re.findall(r"\[[^\]]*\]|[^\[]+", part):
            if not piece.startswith("["):
                names = [name + piece for name in names]
                continue
            numbers = _numbers(piece[1:-1], text)
            if len(names) * len(numbers) > MOST_HOSTS:
                raise _no_hosts(text)
            names = [name + number for name in names for number in numbers]
        hosts += names
    if not hosts or any(set(name) & set("[], \t\n") or not name for name in hosts) or len(hosts) > MOST_HOSTS:
        raise _no_hosts(text)
    return hosts


def _numbers(text: str, whole: str) -> list[str]:
    """Return what stands in brackets, ``03-05,9``, one by one; the width of the first is that of a range."""
    found: list[str] = []
    for part in text.split(","):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if ends is None:
            raise _no_hosts(whole)
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if not first <= last < first + MOST_HOSTS:
            raise _no_hosts(whole)
        found += [f"{number:0{len(ends[1])}}" for number in range(first, last + 1)]
    return found


def _no_hosts(text: str) -> ConfigError:
    return ConfigError(f"SLURM_STEP_NODELIST is {text[:200]!r}; it looks like n[03-05,9],gpu1")


def _master(environ: Mapping[str, str]) -> str:
    host, port = _text(environ, "MASTER_ADDR"), _number(environ, "MASTER_PORT", 1)
    if port > 65535:
        raise ConfigError(f"MASTER_PORT is {port}; a port is at most 65535")
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _text(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "").strip()
    if not text:
        raise ConfigError(
            f"the environment variable {name} is not set, which says where this process stands; start the run with "
            "torchrun or srun, or with --num_shards, --shard_id and --init_method tcp://HOST:PORT"
        )
    return text


def _number(environ: Mapping[str, str], name: str, low: int = 0, *, default: int | None = None) -> int:
    if default is not None and name not in environ:
        return default
    text = _text(environ, name)
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < low:
        raise ConfigError(f"the environment variable {name} is {text!r}; allowed: whole number >= {low}")
    return int(text)
