"""Pages that KVM guests wrote, held against KVM's own dirty log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from inspector.commands.registry import Session, run
from scripts.monitor import REAL
from scripts.scene import KvmGuest, Scene
from tests.live.image import Image

pytestmark = pytest.mark.live
PAGE = 1 << 16


@pytest.fixture
def image(scene: Scene) -> Iterator[Image]:
    with closing(Image(scene.machine)) as found:
        yield found


def by_us(image: Image, lpid: int, gpa: int, size: int, file: Path) -> bytes:
    """The bitmap of a slot as the inspector has it at this moment."""
    image.guest.target.clock.tick()
    words = ["dirty", "--lpid", str(lpid), "--partition", "--slot", f"{gpa:#x}:{size:#x}", "--bitmap", str(file)]
    results = list(run(Session(image.guest), [*words, "--force"]))
    assert all(each.ok for each in results)
    return file.read_bytes()


def by_kvm(guest: KvmGuest, gpa: int) -> bytes:
    """The same by KVM, which clears it: what comes after is new."""
    word, bits = guest.monitor.ask(f"dirty {gpa:x}")[0].split()
    assert word == "ok"
    return bytes.fromhex(bits)


def write(guest: KvmGuest, pages: list[int]) -> None:
    """Have the guest write to these guest real addresses."""
    for line in guest.monitor.ask(*(f"store 0 {gpa:x} {gpa:x} {REAL:x}" for gpa in pages)):
        assert line.startswith("ok"), line


def test_a_slots_bitmap_is_bit_for_bit_that_of_kvm(scene: Scene, image: Image, tmp_path: Path) -> None:
    guest = scene.guests[0]
    slot = next(each for each in guest.layout.slots if "logged" in each.options)
    every = [slot.gpa + at for at in range(0, slot.size, PAGE)]
    by_kvm(guest, slot.gpa)  # whatever was written before
    rounds: tuple[list[int], ...] = ([], every[3:5], [every[0], every[-1]], every[::7], [], every)
    for number, pages in enumerate(rounds):
        write(guest, pages)
        mine = by_us(image, guest.lpid, slot.gpa, slot.size, tmp_path / "log")
        theirs = by_kvm(guest, slot.gpa)
        assert mine == theirs, f"in round {number}"
        bits = int.from_bytes(mine, "little")
        assert [gpa for at, gpa in enumerate(every) if bits >> at & 1] == pages


def test_a_page_that_is_only_read_is_not_dirty(scene: Scene, image: Image, tmp_path: Path) -> None:
    guest = scene.guests[0]
    slot = next(each for each in guest.layout.slots if "logged" in each.options)
    by_kvm(guest, slot.gpa)
    assert guest.monitor.ask(f"load 0 {slot.gpa + 5 * PAGE:x} 0 {REAL:x}")[0].startswith("ok")
    assert by_us(image, guest.lpid, slot.gpa, slot.size, tmp_path / "log") == by_kvm(guest, slot.gpa)
