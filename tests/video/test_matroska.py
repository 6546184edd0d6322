from __future__ import annotations

from pathlib import Path

import pytest

from uniformer_video.video.matroska import matroska_fault

EBML, SEGMENT, CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
UNKNOWN = b"\x01" + b"\xff" * 7


def element(name: bytes, body: bytes) -> bytes:
    return name + bytes([0x80 | len(body)]) + body


BLOCKS = element(b"\xe7", b"\x00") + element(b"\xa3", b"\x81\x00\x00\x80frame")
BODY = element(b"\xec", bytes(4)) + element(CLUSTER, BLOCKS) + element(CLUSTER, BLOCKS)


def fault(tmp_path: Path, data: bytes) -> str | None:
    path = tmp_path / "x.mkv"
    path.write_bytes(data)
    return matroska_fault(path)


def test_whole_file(tmp_path):
    assert fault(tmp_path, element(EBML, b"head") + element(SEGMENT, BODY)) is None


def test_live_file_of_unknown_sizes(tmp_path):
    body = element(b"\xec", bytes(4)) + CLUSTER + UNKNOWN + BLOCKS + CLUSTER + UNKNOWN + BLOCKS
    assert fault(tmp_path, element(EBML, b"head") + SEGMENT + UNKNOWN + body) is None


def test_bytes_after_the_segment_do_not_matter(tmp_path):
    assert fault(tmp_path, element(EBML, b"head") + element(SEGMENT, BODY) + b"\xff" * 20) is None


def test_second_file_after_a_live_one(tmp_path):
    live = element(EBML, b"head") + SEGMENT + UNKNOWN + BODY
    assert fault(tmp_path, live + element(EBML, b"head") + b"\xff\xff") is None


def test_cut_segment(tmp_path):
    data = element(EBML, b"head") + element(SEGMENT, BODY)
    assert fault(tmp_path, data[:-3]) == f"the file breaks off: {len(data) - 3} bytes of {len(data)}"


def test_cut_cluster_of_a_live_file(tmp_path):
    data = element(EBML, b"head") + SEGMENT + UNKNOWN + BODY
    assert fault(tmp_path, data[:-3]) == f"the file breaks off: {len(data) - 3} bytes of {len(data)}"


def test_cut_in_a_header(tmp_path):
    data = element(EBML, b"head") + SEGMENT + UNKNOWN + BODY + CLUSTER[:2]
    assert fault(tmp_path, data) == "the file breaks off in the middle of an element's header"


@pytest.mark.parametrize("wrong", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x82\x81\x00\x00"])
def test_damaged_at_an_element(tmp_path, wrong):
    head = element(EBML, b"head")
    data = bytearray(head + element(SEGMENT, BODY))
    at = len(head) + 5 + 6
    assert data[at : at + 4] == CLUSTER
    data[at : at + 4] = wrong
    assert fault(tmp_path, bytes(data)) == f"damaged at byte {at}"


def test_damaged_inside_a_cluster(tmp_path):
    head = element(EBML, b"head")
    data = bytearray(head + element(SEGMENT, BODY))
    at = len(head) + 5 + 6 + 5 + 3
    assert data[at] == 0xA3
    data[at] = 0xFF
    assert fault(tmp_path, bytes(data)) == f"damaged at byte {at}"


def test_size_that_is_no_number(tmp_path):
    head = element(EBML, b"head") + SEGMENT + UNKNOWN
    assert fault(tmp_path, head + CLUSTER + b"\x00" * 12) == f"damaged at byte {len(head)}"


def test_not_matroska(tmp_path):
    assert fault(tmp_path, b"this is text") == "damaged at byte 0"


def test_block_of_unknown_size(tmp_path):
    head = element(EBML, b"head") + SEGMENT + UNKNOWN + CLUSTER + UNKNOWN
    assert fault(tmp_path, head + b"\xa3" + UNKNOWN + b"abc") == f"damaged at byte {len(head)}"


@pytest.mark.parametrize("name", ["nocount.mkv", "sound.mkv", "vp9.webm", "variable.mkv", "hidden.webm"])
def test_real_files_are_whole(video, name):
    assert matroska_fault(video(name)) is None


def test_real_cut_file(video):
    assert "the file breaks off" in matroska_fault(video("cut.mkv"))


def test_real_damaged_file(video):
    assert "damaged at byte" in matroska_fault(video("damaged.mkv"))
