import fcntl
import mmap
import os
import random
import struct
from collections.abc import Callable

import balance_probe as probe
import pytest
from fastgate.dataplane.shared.region import Mapping
from fastgate.dataplane.shared.slots import Region
from region_probe import Marked

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
PAGE = 4096
HEADER = struct.Struct("@8siiiiiiq")
ENTRY = struct.Struct("=iiqq")
HEADER_BYTES = HEADER.size + 32 * ENTRY.size


def sealed_file(content: bytes, seals: int = SEALS) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def content_of(region: Mapping) -> bytearray:
    with mmap.mmap(region.fd, 0) as view:
        return bytearray(view)


def directory_of(region: Mapping) -> list[tuple[int, ...]]:
    content = os.pread(region.fd, HEADER_BYTES, 0)
    n_tables = HEADER.unpack_from(content)[6]
    entries = list(ENTRY.iter_unpack(content[HEADER.size :]))
    assert set(entries[n_tables:]) == {(0, 0, 0, 0)}
    return entries[:n_tables]


def refused(content: bytes, attach: Callable[[int], Mapping] = Region.attach) -> str:
    fd = sealed_file(content)
    try:
        with pytest.raises(ValueError, match="shared memory") as caught:
            attach(fd)
        return str(caught.value)
    finally:
        os.close(fd)


# --- birth


@pytest.mark.parametrize(
    ("workers", "endpoints"), [(0, 1), (257, 1), (1, 0), (1, 262145), (-1, -1)]
)
def test_a_region_of_impossible_size_is_refused(workers, endpoints):
    with pytest.raises(ValueError, match=r"not in 1\.\."):
        Region.create(workers, endpoints)


def test_a_region_is_made_by_create_or_attach_only():
    with pytest.raises(TypeError):
        Region()


def test_the_largest_region_costs_only_the_pages_that_are_written():
    region = Region.create(256, 65536)

    probe.lease(region, 255, 65535)

    assert region.endpoint(65535)["in_flight"] == 1
    assert os.fstat(region.fd).st_blocks * 512 < 16 << 20


def test_nobody_can_resize_the_region_or_lift_its_seals():
    region = Region.create(1, 1)

    for size in (0, 1 << 30):
        with pytest.raises(PermissionError):
            os.ftruncate(region.fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(region.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_the_descriptor_does_not_survive_an_exec_unless_asked():
    region = Region.create(1, 1)

    assert not os.get_inheritable(region.fd)


def test_a_dropped_region_closes_its_descriptor():
    region = Region.create(1, 1)
    fd = region.fd
    del region

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


# --- the directory


def test_the_directory_says_where_each_table_lies():
    assert directory_of(Region.create(17, 300)) == [
        # kind, bytes of a row, rows, offset
        (1, 256, 17, PAGE),
        (2, 64, 300, 3 * PAGE),
        (3, 4 * 32, 300, 8 * PAGE),
        (4, 32, 17 * 300, 18 * PAGE),
        (5, 512, 300, 58 * PAGE),
        (6, 64, 1, 96 * PAGE),
    ]


@pytest.mark.parametrize(("workers", "endpoints"), [(1, 1), (16, 64), (256, 65536)])
def test_tables_begin_on_pages_and_do_not_overlap(workers, endpoints):
    region = Marked.create(workers, endpoints)
    end = PAGE

    for _, row_bytes, rows, offset in directory_of(region):
        assert offset == end
        end += -(-row_bytes * rows // PAGE) * PAGE
    assert os.fstat(region.fd).st_size == end


# --- one table more, declared by region_probe


def test_a_further_table_lies_behind_the_others_and_begins_empty():
    region = Marked.create(2, 100)
    *others, further = directory_of(region)

    assert others == directory_of(Region.create(2, 100))
    assert further[1:] == (48, 100, os.fstat(region.fd).st_size - 2 * PAGE)
    assert [region.until_ms(e) for e in range(100)] == [0] * 100


def test_a_further_table_is_common_to_all_and_touches_no_other():
    maker = Marked.create(2, 100)
    region = Marked.attach(maker.fd)
    before = content_of(maker)
    offset = directory_of(maker)[-1][3]
    region.fill()

    after = content_of(maker)
    assert after[:offset] == before[:offset]
    assert after[offset:] == b"\xff" * 4800 + bytes(2 * PAGE - 4800)
    assert maker.until_ms(99) == -1


def test_a_build_without_the_further_table_refuses_it_and_the_other_way_round():
    assert "laid it out differently" in refused(content_of(Marked.create(2, 2)))
    assert "laid it out differently" in refused(
        content_of(Region.create(2, 2)), Marked.attach
    )


# --- attaching


def test_an_attached_region_is_the_same_memory():
    first = Region.create(2, 3)
    second = Region.attach(first.fd)

    probe.lease(first, 1, 2)
    second.set_endpoint(0, weight=7)

    assert second.endpoint(2)["in_flight"] == 1
    assert first.endpoint(0)["weight"] == 7
    assert first.fd != second.fd


def test_a_region_outlives_the_one_it_was_attached_from():
    first = Region.create(1, 1)
    probe.lease(first, 0, 0)
    second = Region.attach(first.fd)
    del first

    assert second.endpoint(0)["in_flight"] == 1


def test_a_file_that_could_shrink_under_its_reader_is_refused():
    content = bytes(content_of(Region.create(1, 1)))
    fd = sealed_file(content, fcntl.F_SEAL_GROW)

    with pytest.raises(ValueError, match="not sealed"):
        Region.attach(fd)
    os.close(fd)


def test_an_ordinary_file_or_pipe_is_refused(tmp_path):
    with open(tmp_path / "file", "wb") as file, pytest.raises(ValueError):  # noqa: PT011
        Region.attach(file.fileno())
    reading, writing = os.pipe()
    with pytest.raises(ValueError, match="not sealed"):
        Region.attach(reading)
    os.close(reading)
    os.close(writing)


def test_a_file_too_short_for_a_header_is_refused():
    assert "no header" in refused(b"")
    assert "no header" in refused(b"FASTGATE" + bytes(100))


def test_another_layout_version_is_refused_by_number():
    content = content_of(Region.create(1, 1))
    struct.pack_into("<i", content, 8, 99)

    assert "layout version 99" in refused(content)


def test_a_region_cut_short_or_padded_is_refused():
    content = content_of(Region.create(2, 2))

    assert "laid it out differently" in refused(content[:-PAGE])
    assert "laid it out differently" in refused(content + bytes(PAGE))


def test_a_flipped_bit_of_the_header_is_refused():
    content = content_of(Region.create(2, 2))

    for bit in range(HEADER_BYTES * 8):
        content[bit // 8] ^= 1 << bit % 8
        refused(content)
        content[bit // 8] ^= 1 << bit % 8


def test_random_pages_are_refused_whether_or_not_they_start_well():
    draw = random.Random(20240601)
    good = bytes(content_of(Region.create(1, 1))[:16])

    for turn in range(300):
        pages = draw.randbytes(PAGE * draw.randint(1, 3))
        keep = turn % 17
        refused(good[:keep] + pages[keep:])


def test_the_checked_copy_rules_even_if_the_header_changes_afterwards():
    maker = Region.create(1, 1)
    region = Region.attach(maker.fd)
    with mmap.mmap(maker.fd, 0) as view:
        view[8:PAGE] = b"\xff" * (PAGE - 8)

    assert (region.workers, region.endpoints) == (1, 1)
    with pytest.raises(IndexError):
        region.endpoint(1)
