"""Where a process stands, from environments as the launchers make them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.places import (
    MOST_HOSTS,
    Place,
    expand_hosts,
    find_place,
    job_port,
    tasks_per_node,
)

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
}
MASTER = {"MASTER_ADDR": "host", "MASTER_PORT": "99"}
sizes = st.tuples(st.integers(1, 6), st.integers(1, 8)).flatmap(
    lambda size: st.tuples(*map(st.just, size), st.integers(0, size[0] - 1), st.integers(0, size[1] - 1))
)
"""Machines, processes on each, number of the machine, number on it."""


def torchrun(machines, processes, machine, local, **more):
    return {
        **TORCHRUN,
        "WORLD_SIZE": f"{machines * processes}",
        "RANK": f"{machine * processes + local}",
        "LOCAL_WORLD_SIZE": f"{processes}",
        "LOCAL_RANK": f"{local}",
        "GROUP_WORLD_SIZE": f"{machines}",
        "GROUP_RANK": f"{machine}",
        **more,
    }


def srun(machines, tasks, machine, local, **more):
    return {
        "SLURM_STEP_NUM_TASKS": f"{machines * tasks}",
        "SLURM_STEP_NUM_NODES": f"{machines}",
        "SLURM_NODEID": f"{machine}",
        "SLURM_LOCALID": f"{local}",
        "SLURM_PROCID": f"{machine * tasks + local}",
        "SLURM_STEP_TASKS_PER_NODE": f"{tasks}(x{machines})" if machines > 1 else f"{tasks}",
        "SLURM_STEP_NODELIST": "gpu[07-31],last",
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_ID": "2",
        **more,
    }


def mistake(environ, **options):
    with pytest.raises(ConfigError) as caught:
        find_place(environ, **options)
    return str(caught.value)


class TestPlain:
    @pytest.mark.parametrize(
        "environ",
        [
            {},
            # Left behind by tools that have nothing to do with this run.
            {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "8", **MASTER},
            # An sbatch script without srun; a shell of srun --pty.
            {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"},
            srun(1, 1, 0, 0),
        ],
    )
    def test_a_run_that_nobody_else_started(self, environ):
        assert find_place(environ) == Place()
        assert find_place(environ, init_method="tcp://h:1", machines=3, machine=2) == Place(
            machines=3, machine=2, meeting="tcp://h:1"
        )

    def test_a_meeting_place_of_the_command_line_goes_before_slurm(self):
        assert find_place(srun(2, 1, 1, 0), init_method="tcp://h:1", machines=2, machine=1) == Place(
            machines=2, machine=1, meeting="tcp://h:1"
        )


class TestTorchrun:
    @given(sizes)
    def test_every_process_has_its_place(self, size):
        machines, processes, machine, local = size
        meeting = "agent://10.0.0.1:29500" if machines * processes > 1 else ""
        expected = Place("torchrun", machines, machine, processes, local, meeting)
        for init_method in ("", "env://"):
            assert find_place(torchrun(*size), init_method=init_method) == expected
        # srun torchrun: the inner one counts.
        assert find_place({**srun(1, 8, 0, 3), **torchrun(*size)}) == expected

    def test_without_a_store_of_the_agent_process_0_opens_it(self):
        environ = torchrun(1, 2, 0, 0, TORCHELASTIC_USE_AGENT_STORE="False", MASTER_ADDR="fd00::1")
        assert find_place(environ).meeting == "tcp://[fd00::1]:29500"

    def test_machines_of_the_command_line_may_say_the_same(self):
        assert find_place(torchrun(2, 4, 1, 0), machines=2, machine=1).machine == 1
        assert mistake(torchrun(2, 4, 1, 0), machines=3, machine=1) == (
            "NUM_SHARDS is 3 and SHARD_ID 1, but torchrun says that this is machine 1 of 2; leave --num_shards and "
            "--shard_id out, or start 3 machines"
        )
        assert mistake(torchrun(2, 4, 1, 0), machines=2, machine=0).startswith("NUM_SHARDS is 2 and SHARD_ID 0, but")

    def test_another_meeting_place(self):
        text = mistake(torchrun(1, 2, 0, 0), init_method="tcp://h:1")
        assert text.startswith("--init_method is 'tcp://h:1', but torchrun says where the processes meet; leave it out")
        assert "unset the variable TORCHELASTIC_RUN_ID" in text

    def test_machines_with_different_numbers_of_processes(self):
        assert mistake(torchrun(2, 4, 1, 0, WORLD_SIZE="6")) == (
            "torchrun started 6 processes on 2 machines, 4 of them here; every machine must have the same number: give "
            "each the same --nproc_per_node"
        )
        assert mistake(torchrun(2, 2, 1, 0, RANK="1")).startswith("torchrun started 4 processes")

    @pytest.mark.parametrize("name", [*TORCHRUN, "WORLD_SIZE", "RANK", "LOCAL_RANK", "GROUP_RANK"])
    def test_a_variable_that_is_missing_is_named(self, name):
        environ = torchrun(1, 2, 0, 1)
        del environ[name]
        if name == "TORCHELASTIC_RUN_ID":
            assert find_place(environ) == Place()
        elif name == "TORCHELASTIC_USE_AGENT_STORE":
            assert find_place(environ).meeting.startswith("tcp://")
        else:
            assert mistake(environ).startswith(f"the environment variable {name} is not set")

    @pytest.mark.parametrize("text", ["-1", "x", "1.5", "1e3", "9" * 10])
    def test_a_variable_that_is_no_number(self, text):
        assert mistake(torchrun(1, 2, 0, 1, RANK=text)) == (
            f"the environment variable RANK is {text!r}; allowed: whole number >= 0"
        )
        assert mistake(torchrun(1, 2, 0, 1, WORLD_SIZE="0")).endswith("allowed: whole number >= 1")
        assert mistake(torchrun(1, 2, 0, 1, MASTER_PORT="65536")).startswith("MASTER_PORT is 65536")


class TestVariables:
    @given(sizes)
    def test_set_by_hand_or_by_submitit(self, size):
        machines, processes, machine, local = size
        environ = {"RANK": f"{machine * processes + local}", "WORLD_SIZE": f"{machines * processes}", **MASTER}
        whole = {**environ, "LOCAL_RANK": f"{local}", "LOCAL_WORLD_SIZE": f"{processes}"}
        meeting = "tcp://host:99" if machines * processes > 1 else ""
        expected = Place("env://", machines, machine, processes, local, meeting)
        assert find_place(whole, init_method="env://") == expected
        assert find_place(environ, init_method="env://", machines=machines, machine=machine) == expected
        assert find_place({**srun(2, 4, 1, 1), **whole}, init_method="env://") == expected

    def test_without_more_all_processes_are_on_this_machine(self):
        place = find_place({"RANK": "2", "WORLD_SIZE": "3", **MASTER}, init_method="env://")
        assert place == Place("env://", 1, 0, 3, 2, "tcp://host:99")

    def test_the_meeting_place_alone(self):
        place = find_place(MASTER, init_method="env://", machines=2, machine=1)
        assert place == Place("env://", 2, 1, 0, 0, "tcp://host:99")
        assert mistake(MASTER, init_method="env://").startswith("the environment variable WORLD_SIZE is not set")

    @pytest.mark.parametrize(
        "environ",
        [
            {"RANK": "4", "WORLD_SIZE": "4"},
            {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "3"},
            {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0"},
        ],
    )
    def test_contradictions(self, environ):
        assert "contradict each other; RANK is" in mistake({**environ, **MASTER}, init_method="env://")


class TestSrun:
    @given(sizes)
    def test_every_task_has_its_place(self, size):
        machines, tasks, machine, local = size
        place = find_place(srun(*size))
        if machines * tasks == 1:
            assert place == Place()
            return
        # A task that has its machine to itself starts a process for each GPU.
        meeting = f"tcp://gpu07:{job_port('4711', '2')}"
        assert place == Place("srun", machines, machine, tasks if tasks > 1 else 0, local, meeting)

    def test_the_way_tasks_are_dealt_out_does_not_matter(self):
        # srun -m cyclic numbers tasks across the nodes; the place has its own numbers.
        assert find_place(srun(2, 2, 1, 0, SLURM_PROCID="1")) == find_place(srun(2, 2, 1, 0))

    def test_nodes_with_different_numbers_of_tasks(self):
        environ = srun(2, 2, 0, 0, SLURM_STEP_NUM_TASKS="3", SLURM_STEP_TASKS_PER_NODE="2,1")
        assert mistake(environ) == (
            "srun started 3 tasks on 2 nodes, 2,1 on each; every node must have the same number: use --ntasks-per-node"
        )
        assert mistake(srun(2, 2, 0, 0, SLURM_STEP_NUM_TASKS="6")).startswith("srun started 6 tasks")
        assert mistake(srun(2, 2, 0, 0, SLURM_STEP_NUM_NODES="3")).startswith("srun started 4 tasks on 3 nodes")
        assert mistake(srun(2, 2, 0, 0, SLURM_NODEID="2")).startswith("SLURM_NODEID is 2 and SLURM_LOCALID 0 in a step")
        assert mistake(srun(2, 2, 0, 0, SLURM_LOCALID="2")).startswith(
            "SLURM_NODEID is 0 and SLURM_LOCALID 2 in a step"
        )

    def test_the_step_decides_not_the_job(self):
        assert find_place(srun(2, 1, 1, 0, SLURM_NTASKS="64", SLURM_JOB_NODELIST="other")).meeting.startswith(
            "tcp://gpu07:"
        )

    def test_steps_meet_at_ports_of_their_own(self):
        ports = {job_port(str(job), str(step)) for job in range(50) for step in range(4)}
        assert len(ports) > 190 and min(ports) >= 10_000 and max(ports) < 32_000


class TestShortForms:
    @pytest.mark.parametrize(
        ("text", "hosts"),
        [
            ("node[03-05,9],gpu1", "node03 node04 node05 node9 gpu1"),
            ("a", "a"),
            ("a-1.b,c_2", "a-1.b c_2"),
            ("r[1-2]n[08-10]x", "r1n08x r1n09x r1n10x r2n08x r2n09x r2n10x"),
            ("n[9-11]", "n9 n10 n11"),
            ("n[099-101]", "n099 n100 n101"),
        ],
    )
    def test_nodes(self, text, hosts):
        assert expand_hosts(text) == hosts.split()

    @given(
        st.lists(
            st.tuples(st.from_regex(r"[a-z]{1,4}-?", fullmatch=True), st.integers(0, 120), st.integers(0, 9)),
            min_size=1,
        )
    )
    def test_ranges_of_nodes(self, groups):
        text = ",".join(f"{name}[{first:03}-{first + more:03}]" for name, first, more in groups)
        expected = [f"{name}{n:03}" for name, first, more in groups for n in range(first, first + more + 1)]
        assert expand_hosts(text) == expected
        assert expand_hosts(",".join(expected)) == expected

    @pytest.mark.parametrize(
        "text",
        ["", ",", "n[", "n]", "n[]", "n[1", "n[3-2]", "n[a-b]", "n[1-2", "n[[1-2]]", "n[1-99999999]", "a b", "n[1,]"]
        + [f"n[1-{MOST_HOSTS}]m[1-2]", f"n[1-{MOST_HOSTS}],m"],
    )
    def test_what_is_no_list_of_nodes(self, text):
        with pytest.raises(ConfigError, match="SLURM_STEP_NODELIST is .*; it looks like n"):
            expand_hosts(text)

    @given(st.text(alphabet="an019[]-,", max_size=12))
    def test_any_text_is_names_or_a_line(self, text):
        try:
            hosts = expand_hosts(text)
        except ConfigError:
            return
        assert hosts and all(host and not set(host) & set("[],") for host in hosts)

    @given(st.lists(st.tuples(st.integers(0, 64), st.integers(1, 5)), min_size=1))
    def test_tasks_per_node(self, groups):
        text = ",".join(f"{tasks}(x{nodes})" if nodes > 1 else f"{tasks}" for tasks, nodes in groups)
        assert tasks_per_node(text) == [tasks for tasks, nodes in groups for _ in range(nodes)]

    @pytest.mark.parametrize("text", ["", "a", "2(x)", "2(3)", "2;3", "-1", "2(x9999999)"])
    def test_what_is_no_number_of_tasks(self, text):
        with pytest.raises(ConfigError, match="SLURM_STEP_TASKS_PER_NODE is"):
            tasks_per_node(text)
