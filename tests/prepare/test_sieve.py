"""Which videos are left out, and with what words."""

from __future__ import annotations

from uniformer_video.prepare.prepared import Bad
from uniformer_video.prepare.sieve import sift_entries, sift_probes
from uniformer_video.prepare.sources import Entry
from uniformer_video.prepare.splits import Item, complete_splits
from uniformer_video.video.probe import Probe


def entry(name, *labels, group="", split="", where=""):
    return Entry(f"/v/{name}", name, labels or ("a",), group, split, where)


def probe(name, sha="", **more):
    return Probe(f"/v/{name}", **({"ok": True, "frames": 50, "seconds": 2.0, "sha256": sha or name} | more))


def sift(entries, probes, **more):
    return sift_probes(entries, {p.path: p for p in probes}, **more)


class TestEntries:
    def test_good_ones_pass_in_order(self):
        entries = [entry("b"), entry("a")]
        assert sift_entries(entries, multi_label=False) == (entries, [])

    def test_a_file_twice_with_one_label(self):
        first, second = entry("a", where="l.csv:1"), entry("a", where="l.csv:7")
        assert sift_entries([first, second], multi_label=False) == (
            [first],
            [Bad("/v/a", "listed twice", "listed before, in l.csv:1 (l.csv:7)")],
        )

    def test_of_a_file_in_two_splits_the_test_keeps_it(self):
        train, test = entry("a", split="train", where="t.csv:1"), entry("a", split="test", where="e.csv:2")
        good, bad = sift_entries([train, test], multi_label=False)
        assert good == [test]
        assert bad[0].reason == "listed before, in e.csv:2 (t.csv:1)"

    def test_different_labels_leave_nothing(self):
        entries = [entry("a", "run", where="l.csv:1"), entry("a", "sit", where="l.csv:7"), entry("b")]
        good, (bad,) = sift_entries(entries, multi_label=False)
        assert good == [entries[2]]
        assert bad == Bad(
            "/v/a",
            "label conflict",
            "listed with different labels: 'run' (l.csv:1), 'sit' (l.csv:7); write all labels of a video in one place",
        )

    def test_labels_in_another_order_are_the_same(self):
        _, (bad,) = sift_entries([entry("a", "x", "y"), entry("a", "y", "x")], multi_label=True)
        assert bad.kind == "listed twice"

    def test_names_that_no_list_can_hold(self):
        entries = [entry("line\nbreak"), entry("blank "), entry("half\udc80"), entry("comma,")]
        good, bad = sift_entries(entries, multi_label=False)
        assert [e.name for e in good] == ["comma,"]
        assert {(b.kind, b.reason.split(";")[0]) for b in bad} == {
            ("path", "its path has a line break"),
            ("path", "its path begins or ends with a blank"),
            ("path", "its path is not UTF-8"),
        }
        assert len(sift_entries(entries, multi_label=True)[1]) == 4


class TestProbes:
    def test_what_is_wrong_is_told_in_the_words_of_the_probe(self):
        bad = Probe("/v/a", reason="the file is empty", kind="empty")
        assert sift([entry("a", where="l.csv:4")], [bad]) == ([], [Bad("/v/a", "empty", "the file is empty (l.csv:4)")])

    def test_short_ones(self):
        entries = [entry("a"), entry("b"), entry("c")]
        probes = [probe("a", frames=9), probe("b", seconds=0.5), probe("c", frames=10, seconds=0.9999)]
        good, bad = sift(entries, probes, min_frames=10, min_seconds=1)
        assert good == [entries[2]]  # a hair below: rounding
        assert [b.reason for b in bad] == ["9 frames, --min-frames is 10", "0.50 seconds, --min-seconds is 1"]
        assert {b.kind for b in bad} == {"too short"}

    def test_of_equal_files_the_first_by_name_stays_in_any_order(self):
        entries = [entry("c"), entry("a"), entry("b")]
        probes = [probe("a", "same"), probe("b", "same"), probe("c", "same")]
        for order in (entries, entries[::-1]):
            good, bad = sift(order, probes)
            assert [e.name for e in good] == ["a"]
            assert {(b.path, b.kind, b.reason) for b in bad} == {
                ("/v/b", "duplicate", "the same bytes as a"),
                ("/v/c", "duplicate", "the same bytes as a"),
            }

    def test_equal_files_of_two_classes(self):
        _, (bad,) = sift([entry("a", "run"), entry("b", "sit")], [probe("a", "same"), probe("b", "same")])
        assert bad.kind == "duplicate with another label"
        assert bad.reason == "the same bytes as a, which is 'run', while this one is 'sit'; one is wrong"

    def test_what_is_tested_on_stays(self):
        entries = [entry("a", split="train"), entry("b", split="test"), entry("c", split="val")]
        good, _ = sift(entries, [probe(name, "same") for name in "abc"])
        assert [e.name for e in good] == ["b"]

    def test_files_whose_bytes_were_not_read_are_no_duplicates(self):
        entries = [entry("a"), entry("b")]
        probes = [Probe(f"/v/{name}", ok=True) for name in "ab"]
        assert sift(entries, probes) == (entries, [])

    def test_kept_duplicates_share_a_group_and_join_the_groups_they_were_in(self):
        entries = [entry("a", group="g1"), entry("b"), entry("c", group="g2"), entry("d", group="g2"), entry("e")]
        probes = [probe("a", "x"), probe("b", "x"), probe("c", "x"), probe("d"), probe("e")]
        good, bad = sift(entries, probes, keep_duplicates=True)
        assert bad == []
        groups = {e.name: e.group for e in good}
        assert groups["a"] == groups["b"] == groups["c"] == groups["d"] != ""
        assert groups["e"] == ""

    def test_kept_duplicates_do_not_cross_the_splits_of_the_source(self):
        entries = [entry("a", split="train"), entry("b", split="test"), entry("c", split="test"), entry("d")]
        good, bad = sift(entries, [probe(name, "same") for name in "abcd"], keep_duplicates=True)
        assert [(e.name, e.split) for e in good] == [("b", "test"), ("c", "test"), ("d", "test")]
        assert len({e.group for e in good}) == 1
        assert bad == [Bad("/v/a", "duplicate in another split", "the same bytes as b, which is in test")]

    def test_a_kept_duplicate_goes_where_its_twin_is_tested_on_and_not_where_its_own_group_is(self):
        entries = [entry("A", split="test", group="g1"), entry("B", group="g2"), entry("C", split="train", group="g2")]
        good, bad = sift(entries, [probe("A", "same"), probe("B", "same"), probe("C")], keep_duplicates=True)
        assert bad == []
        items = [Item(e.name, e.labels, e.group) for e in good]
        given = {e.name: e.split for e in good if e.split}
        splits, _ = complete_splits(items, given, {"train": 1.0, "val": 0.0, "test": 0.0})
        assert splits == {"A": "test", "B": "test", "C": "train"}

    def test_of_another_label_and_split_both_are_told(self):
        entries = [entry("a", "run", split="train"), entry("b", "sit", split="test")]
        _, (bad,) = sift(entries, [probe("a", "same"), probe("b", "same")], keep_duplicates=True)
        assert bad.kind == "duplicate in another split"
        assert bad.reason == (
            "the same bytes as b, which is in test and is 'sit', while this one is 'run'; one is wrong"
        )
