"""Code fetched through tables: of the recorded guest that hangs, and of a snapshot that has none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import inspector
from inspector.errors import UnknownRegister
from inspector.fetching import around, fetched
from inspector.guest import Guest
from inspector.instructions.effective import reach
from inspector.instructions.operations import Kind

FIXTURE = Path(__file__).parent.parent / "fixtures" / "powernv9-hang.core.gz"
NIP = 0x2100
LPID, PID = 2, 5


@pytest.fixture(scope="module")
def host() -> Iterator[Guest]:
    with inspector.open_target(str(FIXTURE)) as guest:
        yield guest


def test_the_load_that_hangs(host: Guest) -> None:
    found = fetched(host, NIP, lpid=LPID, pid=PID, little=True)
    assert found.instruction is not None
    assert (found.instruction.text, found.instruction.address) == ("ld r5, 0(r4)", NIP)
    assert found.translation is not None
    assert found.translation.gra == NIP
    told = reach(found.instruction, {"r4": 0x5000_0000}.get)
    assert told is not None
    assert (told.way, told.size, told.ea) == ("r", 8, 0x5000_0000)


def test_the_same_code_at_its_guest_real_address(host: Guest) -> None:
    found = fetched(host, NIP, lpid=LPID, guest_real=True, little=True)
    assert found.instruction == fetched(host, NIP, lpid=LPID, pid=PID, little=True).instruction


def test_the_byte_order_is_that_of_the_vcpu_or_as_it_is_said(host: Guest) -> None:
    assert host.registers().need("msr") & 1
    by_itself = fetched(host, NIP, lpid=LPID, pid=PID)
    assert by_itself == fetched(host, NIP, lpid=LPID, pid=PID, little=True)
    other = fetched(host, NIP, lpid=LPID, pid=PID, little=False)
    assert other.instruction is not None
    assert other.instruction.word == 0x0000_A4E8


def test_what_is_around_it(host: Guest) -> None:
    listing = list(around(host, 0x2308, 2, 2, lpid=LPID, pid=PID))
    assert [each.address for each in listing] == [0x2300, 0x2304, 0x2308, 0x230C, 0x2310]
    texts = [each.instruction.text for each in listing if each.instruction]
    assert texts == ["ld r5, 0(r4)", "addi r5, r5, 1", "std r5, 0(r4)", "b 0x2300", ".long 0x00000000"]
    assert listing[3].instruction is not None
    assert listing[3].instruction.target == 0x2300


def test_a_word_before_it_does_not_swallow_it(host: Guest) -> None:
    """The big-endian reading of some little-endian code has a prefix; the one that is asked for is there."""
    for at in range(0x2000, 0x2600, 4):
        for little in (True, False):
            listing = list(around(host, at, 3, 1, lpid=LPID, pid=PID, little=little))
            assert at in [each.address for each in listing]


def test_what_is_not_there_is_said(host: Guest) -> None:
    nowhere = fetched(host, 0x7000_0000, lpid=LPID, pid=PID)
    assert nowhere.instruction is None
    assert nowhere.why.startswith("no tables lead to it: ")
    of_the_host = fetched(host, host.registers().need("nip"))
    assert of_the_host.instruction is None
    assert of_the_host.why.startswith("its bytes cannot be read: ")
    assert of_the_host.translation is not None
    assert of_the_host.translation.ok
    odd = fetched(host, NIP + 2, lpid=LPID, pid=PID)
    assert (odd.instruction, odd.translation) == (None, None)
    assert "multiple of 4" in odd.why


def test_at_the_edges_of_the_address_space(host: Guest) -> None:
    assert [each.address for each in around(host, 4, 4, 1, lpid=LPID, pid=PID)] == [0, 4, 8]
    last = (1 << 64) - 4
    assert [each.address for each in around(host, last, 1, 4, lpid=LPID, pid=PID)] == [last - 4, last]


def test_an_msr_that_is_not_known_is_asked_for(tmp_path: Path) -> None:
    image = tmp_path / "ram"
    image.write_bytes(bytes(1 << 16))
    with inspector.open_target(f"raw:{image}") as guest, pytest.raises(UnknownRegister, match="msr"):
        fetched(guest, 0)


def test_kinds_of_what_the_monitor_runs(host: Guest) -> None:
    listing = around(host, 0x2000, 0, 8, lpid=LPID, pid=PID)
    kinds = [each.instruction.kind for each in listing if each.instruction]
    assert Kind.RETURN in kinds
