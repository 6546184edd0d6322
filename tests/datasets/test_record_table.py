"""Records in arrays: they read like a list of records, in this process and in others."""

from __future__ import annotations

import copy
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.datasets import record_table
from uniformer_video.datasets.record_table import RecordTable, RecordTableBuilder
from uniformer_video.datasets.records import VideoRecord

ONE = [VideoRecord("/v/run/a.mp4", 2), VideoRecord("b.mp4", 0), VideoRecord("https://h/v/é c.mp4", 399)]
SEVERAL = [VideoRecord("/v/a.mp4", (0, 3)), VideoRecord("/v/b.mp4", ()), VideoRecord("/v/c.mp4", (3,))]
MIXED = [VideoRecord("C:\\v\\a.mp4", 5, 30), VideoRecord("x/", (1, 2)), VideoRecord("x/y", 0, 0)]
LISTS = pytest.mark.parametrize("records", [ONE, SEVERAL, MIXED, [], ONE[:1]])

paths = st.text(st.characters(exclude_categories=[]), max_size=12) | st.sampled_from(
    ["/a/b", "a\\b/c", "//", "\udcff/x"]
)
labels = st.integers(0, 999_999) | st.lists(st.integers(0, 9), max_size=3, unique=True).map(tuple)
several = st.lists(st.builds(VideoRecord, paths, labels, st.none() | st.integers(0, 10**15)), max_size=30)


@LISTS
def test_it_reads_like_a_list(records):
    table = RecordTable.of(records)
    assert len(table) == len(records)
    assert list(table) == records and table == records and records == table
    assert [table[n] for n in range(len(records))] == records
    assert [table[n - len(records)] for n in range(len(records))] == records
    assert table[1:] == records[1:] and table[::-1] == records[::-1]
    for number in (len(records), -len(records) - 1):
        with pytest.raises(IndexError):
            table[number]
    assert RecordTable.of(table) is table
    assert table != [*records, VideoRecord("z", 0)] and table != "records"
    for record in table:
        each = record.label if isinstance(record.label, tuple) else (record.label,)
        assert all(type(label) is int for label in each)


@given(several)
def test_any_records_come_back(records):
    table = RecordTable.of(records)
    assert list(table) == records
    assert list(table.iter_labels()) == [record.labels for record in records]
    assert table.label_values.tolist() == [label for record in records for label in record.labels]
    counts = table.label_counts
    assert counts is None or counts.tolist() == [len(record.labels) for record in records]
    first = next((n for n, record in enumerate(records) if isinstance(record.label, tuple)), None)
    assert table.first_several() == first
    assert table.has_one_label() == (len({record.labels for record in records}) <= 1)
    assert pickle.loads(pickle.dumps(table)) == records
    tuples = [VideoRecord(record.path, record.labels, record.num_frames) for record in records]
    assert table.as_multi_label() == tuples


@given(st.lists(st.tuples(st.sampled_from(["", "/v/", "é/", "\udcff\\"]), paths, st.integers(0, 9)), max_size=20))
def test_many_at_once_are_as_one_by_one(rows):
    rows = [(folder, name.replace("/", "_").replace("\\", "_"), label) for folder, name, label in rows]
    builder, halves = RecordTableBuilder(), (rows[: len(rows) // 2], rows[len(rows) // 2 :])
    for half in filter(None, halves):
        builder.add_many(*zip(*half, strict=True))
    records = [VideoRecord(folder + name, label) for folder, name, label in rows]
    assert len(builder) == len(rows)
    assert builder.finish() == records


def test_many_at_once_after_others():
    builder = RecordTableBuilder()
    builder.add("/v/a", (1, 2), 7)
    builder.add_many(["/v/", "w/"], ["b", "c"], [3, 4])
    assert builder.finish() == [VideoRecord("/v/a", (1, 2), 7), VideoRecord("/v/b", 3), VideoRecord("w/c", 4)]


def test_a_walk_over_more_than_a_block():
    records = [VideoRecord(f"/v/{n % 7}/{n}.mp4", n % 5) for n in range(2 * record_table._BLOCK + 3)]
    table = RecordTable.of(records)
    assert list(table) == records
    assert list(table.iter_labels()) == [record.labels for record in records]


def test_folders_are_kept_once():
    records = [VideoRecord(f"/a/long/folder/of/videos/{n % 2}/{n:03d}", n % 2) for n in range(100)]
    table = RecordTable.of(records)
    assert table.folders_of_labels() == {(0, "/a/long/folder/of/videos/0/"), (1, "/a/long/folder/of/videos/1/")}
    # 3 bytes of name, 4 of its end, 4 of the folder's number, 4 of the label; and twice the folder.
    assert table.nbytes < 100 * 16 + 100


def test_it_shows_its_beginning():
    assert repr(RecordTable.of(ONE)) == f"<3 records: {', '.join(map(repr, ONE))}>"
    assert repr(RecordTable.of(ONE * 2)).endswith(", ...>")
    with pytest.raises(TypeError):
        hash(RecordTable.of(ONE))


# --------------------------------------------------------------------------------------------------- other processes


def read_there(table, queue):
    """Say what another process reads, and whether its arrays lie in shared memory."""
    owner = table._arrays["names_data"]
    while isinstance(owner, np.ndarray):
        owner = owner.base
    queue.put((list(table) == MIXED * 3, isinstance(owner, torch.Tensor) and owner.is_shared()))


@pytest.mark.parametrize("shared", [False, True])
def test_a_spawned_process_reads_the_same_records(monkeypatch, shared):
    # A short table travels as it is.
    monkeypatch.setattr(record_table, "SHARED_BYTES", 1 if shared else 1 << 20)
    table, context = RecordTable.of(MIXED * 3), multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    for _ in range(2):
        process = context.Process(target=read_there, args=(table, queue))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert queue.get() == (True, shared)
    assert (table._shared is not None) is shared
    if shared:
        assert all(pair is None or pair[1].is_shared() for pair in table._shared.values())
    assert table == MIXED * 3 and copy.deepcopy(table) == MIXED * 3


def test_a_system_without_shared_memory_copies(monkeypatch):
    def full(_):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device")

    monkeypatch.setattr(record_table, "SHARED_BYTES", 1)
    monkeypatch.setattr(record_table, "_share_bytes", full)
    table = RecordTable.of(ONE)
    assert table._share() is False
    assert table == ONE and table._shared is None
