"""The cpio archive, read back by a reader of its own; the order in which modules are loaded."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.initramfs import INIT, Entry, build, directory, module_depends, module_order, newc, node, program

FIELDS = 13
HEADER = 6 + 8 * FIELDS


def read_back(archive: bytes) -> list[Entry]:
    """The entries of a newc archive, as the kernel's buffer-format document describes it."""
    entries: list[Entry] = []
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        assert at % 4 == 0
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(FIELDS)]
        _ino, mode, _uid, _gid, _links, _time, size, _major, _minor, rmajor, rminor, named, _check = fields
        name = archive[at + HEADER : at + HEADER + named]
        assert name.endswith(b"\0")
        start = (at + HEADER + named + 3) // 4 * 4
        if name == b"TRAILER!!!\0":
            assert len(archive) == start
            return entries
        entries.append(Entry(name[:-1].decode(), mode, archive[start : start + size], (rmajor, rminor)))
        at = (start + size + 3) // 4 * 4


NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(
    lambda name: name != "TRAILER!!!"
)


@given(st.lists(st.builds(Entry, NAMES, st.integers(0, 0o177777), st.binary(max_size=50), st.just((0, 0)))))
def test_what_is_written_is_read_back(entries: list[Entry]) -> None:
    assert read_back(newc(entries)) == entries


def test_kinds_of_entry() -> None:
    entries = [directory("bin"), program("init", b"#!"), node("dev/console", 5, 1)]
    folder, file, device = read_back(newc(entries))
    assert stat.S_ISDIR(folder.mode)
    assert stat.S_IMODE(file.mode) == 0o755
    assert stat.S_ISCHR(device.mode)
    assert device.device == (5, 1)


def module(*depends: str) -> bytes:
    return b"\x7fELF...\0license=GPL\0depends=" + ",".join(depends).encode() + b"\0name=x\0"


def test_modules_come_after_what_they_need() -> None:
    modules = {"virtio-rng": module("virtio"), "virtio": module("virtio_ring"), "virtio_ring": module()}
    assert module_order(["virtio_rng", "virtio"], modules) == ["virtio_ring", "virtio", "virtio-rng"]


def test_a_module_that_is_not_there_is_built_in_and_a_cycle_ends() -> None:
    modules = {"a": module("b", "built_in"), "b": module("a")}
    assert module_order(["a", "none"], modules) == ["b", "a"]


def test_dependencies_of_a_module() -> None:
    assert module_depends(module("a", "b")) == ["a", "b"]
    assert module_depends(module()) == []
    assert module_depends(b"no such string") == []


def test_the_archive_of_a_guest(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(b"BUSY")
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "virtio_pci.ko").write_bytes(module("virtio"))
    (folder / "virtio.ko").write_bytes(module())
    (folder / "kvm.ko").write_bytes(module())
    found = {entry.path: entry for entry in read_back(build(tmp_path / "busybox", folder, {"/opt/own/tool": b"T"}))}
    assert found["init"].data.decode() == INIT
    assert found["bin/busybox"].data == b"BUSY"
    assert [name for name in found if name.endswith(".ko")] == ["modules/00-virtio.ko", "modules/01-virtio_pci.ko"]
    assert found["opt/own/tool"].data == b"T"
    order = list(found)
    assert order.index("opt") < order.index("opt/own") < order.index("opt/own/tool")


def test_a_file_too_large_for_the_form_is_refused() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 1 << 32

    with pytest.raises(ValueError, match="4 GiB"):
        newc([Entry("huge", stat.S_IFREG, Huge())])
