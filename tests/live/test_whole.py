"""The whole program on real guests: every command over the wire, audited; broken tables that lead to devices; snapshots
that answer as the live guest did; looking on while it runs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

import inspector
from inspector.cli import main
from inspector.commands.registry import MODULES, WITHOUT_GUEST
from scripts.guests import Machine
from scripts.oracle import addresses, gva2gpa, ours
from tests.live.proxy import Proxy, audit
from tests.live.tables import Tables

pytestmark = pytest.mark.live

FAULTS = Path(__file__).parents[2] / "fixtures" / "powernv9-faults.jsonl"
SAMPLING = "triage --seconds 0.5"
"""It lets a guest that ran go on between two samples, as its detail says."""
LOOKING = (
    "xlate $nip 0xc00a000080000000 0x10000000 0x4000000000000000",
    "compare $nip",
    "why $nip $dar",
    "triage --seconds 0",
    SAMPLING,
    "maps --all",
    "rmap 0x0 0x60302031a0000",
    "mark before",
    "diff demo --summary",
    "dirty --slot 0:64M",
    "age --idle --limit 5",
    "tables --by pid",
    "audit --severity info",
    "search word 0xc000000000000000 --range 0:4M",
    "sql 'SELECT count(*) AS leaves FROM leaves'",
    "export {folder}/all.csv",
    "report {folder}/all.html",
    "record {folder}/live.core.gz",
    "pids",
    "lpids",
    "roots",
    "regs --all --bits",
    "cpu",
    "read 0xc000000000000000 64",
    "read --real 0 64",
    "read 0xc00a000080000000 64",
    "read --real 0x60302031a0000 64",
    "ram",
    "decode $msr",
    "info",
    "virtio",
    "gdb info threads",
    "overlay on",
    "slot 0x40000000:1G --lpid 9",
    "fault 0x40000000 --gpa 0x40000000 --lpid 9 --dsisr nopte --host base=0x100000,size=64K,writable",
    "unmap 0x40000000 --lpid 9",
    "test-age 0x40000000 --lpid 9",
    "dirty-log clear 0x40000000:16M --lpid 9",
    "free --lpid 9",
    f"replay {FAULTS}",
    "explain --list",
)


@pytest.mark.guests("pseries-p9", "powernv9")
def test_every_command_looks_and_does_no_more(
    guest: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each as a program of its own: attaching, answering and leaving, with every packet looked at."""
    with Proxy(guest.gdb_address) as proxy:
        with inspector.open_target(f"gdb:{proxy.address}") as seen:
            ram = seen.target.ram
        for words in LOOKING:
            proxy.packets.clear()
            status = main([f"gdb:{proxy.address}", *shlex.split(words.format(folder=tmp_path))])
            said = capsys.readouterr()
            assert status in (0, 1), f"{words}: {said.err}"
            assert said.out, words
            audit(proxy.packets, ram, run_control=words == SAMPLING)
    told = {words.split()[0] for words in LOOKING} | WITHOUT_GUEST
    assert set(MODULES) - told == {"continue", "interrupt", "stepi"}, "a command that this test does not run"
    assert guest.running


@pytest.mark.guests("pseries-p9")
def test_a_table_that_leads_to_a_device_is_a_fault_and_no_access(guest: Machine) -> None:
    """Reading the interrupt controller's page through the stub would end QEMU; the walk must stop at the entry."""
    timer = 0x6_0302_031A_0000
    with Proxy(guest.gdb_address) as proxy:
        with inspector.open_target(f"gdb:{proxy.address}") as seen:
            ea = 0xC00A_0000_8000_0000
            answer = seen.translate(ea)
            assert answer.ra == timer, "the guest's layout is not what this test was written for"
            directory = next(step for step in answer.steps if step.level == 1)
            tables = Tables(guest)
            try:
                with tables.holding(directory.address, 1 << 63 | timer | 5):
                    seen.target.clock.tick()
                    for walker in ("hardware", "kvm"):
                        fault = seen.translate(ea, walker=walker)
                        assert (fault.ok, fault.cause) == (False, "table-not-ram")
                        assert f"{directory.address:#x}" in fault.reason, "which entry led there"
                        assert f"{timer:#x}" in fault.reason
                    assert seen.translate(ea, walker="kvm").errno == "EFAULT"
            finally:
                tables.close()
            ram = seen.target.ram
        audit(proxy.packets, ram)
    assert guest.running


@pytest.mark.guests("pseries-p9", "powernv9")
def test_a_snapshot_answers_as_the_live_guest_did(guest: Machine, tmp_path: Path) -> None:
    from inspector.recording import recording_of
    from inspector.snapshot.write import write_snapshot

    path = str(tmp_path / "taken.core.zst")
    with inspector.open_target(guest.target) as live:
        write_snapshot(path, recording_of(live))
        asked = list(addresses(live, 400, seed=11))
        with inspector.open_target(path) as taken:
            for cpu in live.target.cpus:
                assert taken.registers(cpu).values == live.registers(cpu).values
                theirs = [gva2gpa(guest, ea, cpu) for ea in asked]
                assert [ours(taken, ea, cpu) for ea in asked] == theirs
            for walker in ("hardware", "kvm", "kvm@4.20", "kvm@pre-70cd4c10b2"):
                for ea in asked[:100]:
                    there, here = (each.translate(ea, walker=walker) for each in (live, taken))
                    assert (there.ok, there.ra, there.errno, there.steps) == (here.ok, here.ra, here.errno, here.steps)
            assert [p.pid for p in taken.processes()] == [p.pid for p in live.processes()]


@pytest.mark.guests("pseries-p9", "powernv9")
def test_the_kernels_own_description_is_found_by_symbols_and_without(guest: Machine) -> None:
    from inspector.recording import recording_of

    release = guest.shell("uname -r").strip()
    found = []
    for options in ({"vmlinux": str(guest.vmlinux)}, {"ram": str(guest.ram_file)}):
        with inspector.open_target(guest.target, vmlinux=options.get("vmlinux"), ram=options.get("ram")) as seen:
            found.append(recording_of(seen).vmcoreinfo)
    assert found[0] is not None
    assert found[0].startswith(f"OSRELEASE={release}\n".encode())
    assert found[1] == found[0]


@pytest.mark.guests("pseries-p9", "powernv9")
def test_looking_on_while_it_runs(guest: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """With the shared RAM file; every answer says that it may be changing, and the guest is never stopped for it."""
    words = [guest.target, "--ram", str(guest.ram_file), "--json"]
    asked = ["continue", "xlate 0xc000000000000000", "xlate --pid 2 0x10000000", "pids", "read 0xc000000000000000 16"]
    status = main([*words, *(word for each in asked for word in ("-c", each))])
    said = capsys.readouterr()
    assert said.err == ""
    assert status in (0, 1)
    answers = [json.loads(line) for line in said.out.splitlines()]
    walked = [answer for answer in answers if "steps" in answer]
    assert len(walked) == 2
    assert walked[0]["ra"] == "0x0"
    assert all(any("may be changing" in note for note in answer["notes"]) for answer in walked)
    assert sum("may be changing" in answer.get("note", "") for answer in answers) >= 2
    assert guest.running


def test_through_gdb_alone_a_running_guest_is_refused_in_words(
    guest: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    main([guest.target, "--source", "gdb", "-c", "continue", "-c", "xlate 0xc000000000000000", "-c", "interrupt"])
    said = capsys.readouterr()
    assert "--ram" in said.err + said.out
    assert "Traceback" not in said.err
