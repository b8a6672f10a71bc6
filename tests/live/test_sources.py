"""The ways to a live guest's RAM: the same bytes by each, told apart, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import inspector
from inspector.errors import NotSupported, Unreadable
from inspector.memory import pmemsave, tiers
from inspector.memory.hostprocess import Served
from inspector.memory.physical import PhysicalMemory
from inspector.memory.tiers import TIERS
from inspector.targets.live import LiveTarget
from scripts.guests import Machine
from tests.live import stub
from tests.live.proxy import Proxy, audit
from tests.live.stub import LIMIT, eventually, open_bytes, physical_mode

pytestmark = pytest.mark.live

RUNS = [(0, 8), (0x10000, 256), (0x100000, 70_001), (0x2000000, 1 << 20), (0x2000100, 16), (0x3FF0000, 4096)]


def opened(spec: str, source: str = "auto") -> AbstractContextManager[LiveTarget]:
    """A target, closed at the end."""
    return stub.opened(spec, source=source)


def left_behind() -> list[Path]:
    """Files of pmemsave's."""
    return [
        path for folder in (*pmemsave.FOLDERS, tempfile.gettempdir()) for path in Path(folder).glob("inspector-ram*")
    ]


@pytest.mark.guests("pseries-p9", "powernv9")
@pytest.mark.parametrize("source", TIERS)
def test_every_way_gives_the_same_bytes(guest: Machine, source: str) -> None:
    before = left_behind()
    with opened(guest.target, source=source) as target:
        memory = PhysicalMemory(target.source, target.ram, target.clock)
        expected = [open_bytes(guest.ram_file, *run) for run in RUNS]
        assert memory.read_runs(RUNS) == expected
        assert [target.source.read(*run) for run in RUNS] == expected
        for start, end in target.ram.spans():
            assert len(target.source.read(start, 16)) == len(target.source.read(end - 16, 16)) == 16
        assert {"ram": "RAM file", "process": str(guest.pid), "pmemsave": "pmemsave", "gdb": "gdb at"}[source] in (
            target.source.description
        )
    assert left_behind() == before
    assert eventually(lambda: guest.running)


@pytest.mark.parametrize("source", TIERS)
def test_while_the_guest_runs_memory_is_read_or_a_sentence_says_why_not(guest: Machine, source: str) -> None:
    with opened(guest.target, source=source) as target:
        memory = PhysicalMemory(target.source, target.ram, target.clock)
        words = target.source.read(0x100000, 4096)
        target.control.resume()
        assert memory.changing
        if source in ("ram", "process"):
            assert target.source.cheap
            assert target.source.read(0x100000, 4096) == words  # kernel text: it does not change
        else:
            for found in memory.read_runs([(0, 8), (0x100000, 1 << 20)]):
                assert isinstance(found, Unreadable)
                assert "interrupt" in str(found)


def test_the_fastest_is_found_by_itself_and_only_when_it_pays(guest: Machine) -> None:
    with opened(guest.target) as target:
        target.source.read(0, 8)
        assert "gdb at" in target.source.description
        assert not target.source.cheap
        target.source.read(0x100000, 1 << 20)
        assert str(guest.ram_file) in target.source.description
        assert target.source.cheap
    with opened(guest.target) as target:
        target.control.resume()
        assert len(target.source.read(0, 8)) == 8, "a way that works while the guest runs was found before"


def test_info_says_which(guest: Machine) -> None:
    for words, says in (((), f"RAM file {guest.ram_file}"), (("--source", "process"), f"QEMU's process {guest.pid}")):
        said = subprocess.run(
            [sys.executable, "-m", "inspector", guest.target, *words, "info"],
            capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        assert said.returncode == 0, said.stderr
        assert says in " ".join(said.stdout.split())


@pytest.fixture
def through_proxy(guest: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that is taken for transparent: behind it QEMU is still the process that serves."""
    monkeypatch.setattr(tiers, "of_client", lambda *_: Served((guest.pid,)))
    with Proxy(guest.gdb_address) as proxy:
        yield proxy


@pytest.mark.parametrize("source", TIERS)
def test_on_the_wire_nothing_is_written_and_only_ram_is_read(guest: Machine, through_proxy: Proxy, source: str) -> None:
    before = open_bytes(guest.ram_file, 0, 32 << 20)
    guest.pause()
    still = open_bytes(guest.ram_file, 0, 32 << 20)
    with opened(f"gdb:{through_proxy.address}", source=source) as target:
        ram = target.ram
        memory = PhysicalMemory(target.source, ram, target.clock)
        beyond = [(end - 8, 16) for _, end in ram.spans()] + [(0x6030203180000, 8), (0x210000000000, 1 << 20)]
        found = memory.read_runs([*RUNS, *beyond])
        assert all(isinstance(each, Exception) for each in found[len(RUNS) :])
        for address, length in beyond:
            with pytest.raises(Unreadable):
                target.source.read(address, length)
    reads = audit(through_proxy.packets, ram)
    saved = sum((packet.monitor or "").startswith("pmemsave ") for packet in through_proxy.packets)
    assert reads > 0
    assert (saved > 0) == (source == "pmemsave")
    assert open_bytes(guest.ram_file, 0, 32 << 20) == still
    assert len(before) == len(still)
    assert not guest.running
    guest.cont()
    assert physical_mode(guest) == b"0"


def test_a_proxy_is_no_qemu(guest: Machine) -> None:
    refused = pytest.raises(NotSupported, match=r"no process of this user.* serves the stub")
    with Proxy(guest.gdb_address) as proxy, refused, opened(f"gdb:{proxy.address}", source="process"):
        pass
    assert eventually(lambda: guest.running)


CHILD = """
import sys
from inspector.targets.live import open_live
target = open_live(sys.argv[1])
try:
    target.settle()
    print(target.source.description)
    print(target.source.read(0x100000, 1 << 20).hex()[:64])
finally:
    target.close()
"""


def without_ptrace(*words: str) -> list[str]:
    """A command line that runs as this user, but may not look into QEMU's process."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        pytest.skip("taking a right away takes root and setpriv")
    drop = ("-all",)
    return [setpriv, f"--bounding-set={drop[0]}", f"--inh-caps={drop[0]}", *words]


def test_a_process_that_may_not_be_read_is_passed_over_and_said(boot: Callable[..., Machine]) -> None:
    before = left_behind()
    machine = boot("pseries-reset", gdb="unix", ram_file=None)
    os.rename(machine.ram_file, machine.ram_file.with_name("hidden"))
    said = subprocess.run(
        without_ptrace(sys.executable, "-c", CHILD, machine.target),
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    how, data = said.stdout.splitlines()
    assert "pmemsave into" in how
    assert "not QEMU's memory: " in how
    assert "permitted" in how or "lets it look into" in how
    assert data == open_bytes(machine.ram_file.with_name("hidden"), 0x100000, 32).hex()
    assert left_behind() == before
    assert not machine.running


@pytest.mark.parametrize("gdb", ["tcp", "unix"])
def test_qemus_process_is_found_behind_either_kind_of_socket(boot: Callable[..., Machine], gdb: str) -> None:
    machine = boot("pseries-reset", gdb=gdb)
    with opened(machine.target, source="process") as target:
        assert target.source.description == f"the memory of QEMU's process {machine.pid}"
        assert target.source.read(0, 4096) == open_bytes(machine.ram_file, 0, 4096)
        machine.kill()
        with pytest.raises(Unreadable, match="gone"):
            target.source.read(0, 8)


def test_the_whole_of_a_guests_tables_is_the_same_by_every_way(guest: Machine) -> None:
    guest.pause()
    seen = []
    for source in TIERS:
        with inspector.open_target(guest.target, source=source) as opened_guest:
            entries = [(each.pid, each.entry) for each in opened_guest.processes()]
            answer = opened_guest.translate(0xC000_0000_0000_0000)
            seen.append((entries, answer.ra, [step.value for step in answer.steps]))
    assert len(seen[0][0]) > 1
    assert seen.count(seen[0]) == len(TIERS)
