"""What is in a report is what the guest's address spaces hold: read back out of the page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inspector
from inspector.errors import RecordError
from inspector.guest import Guest
from inspector.mappings.audit.run import audit
from inspector.mappings.owners import Owner
from inspector.mappings.rights import parse
from inspector.radix.bits import RPDB_MASK
from inspector.report.columns import unpack
from inspector.report.page import parts_of
from inspector.reporting import contents, write
from tests import fakes
from tests.fakes import FakeControl, bare_target, broken_target, guest, guest_to_host, kvm_host_target, linux_target

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Decoded = tuple[dict[str, Any], dict[str, NDArray[Any]]]


def decoded(at: Guest, tmp_path: Path, pids: list[int] | None = None, **options: Any) -> Decoded:
    """The facts and columns of the page that is written of a guest."""
    path = tmp_path / "page.html"
    spaces = at.spaces(pids)
    what = contents(at, spaces, audit(spaces), now=NOW, **options)
    written = write(str(path), what, force=True)
    data = path.read_bytes()
    assert written.file_size == len(data)
    facts, packed = parts_of(data)
    return facts, unpack(facts["columns"], packed)


GUESTS = {"pseries": linux_target, "powernv": bare_target, "broken": broken_target}


@pytest.mark.parametrize("name", [*GUESTS, "demo"])
def test_the_page_holds_every_range(name: str, tmp_path: Path) -> None:
    with inspector.open_target("demo") if name == "demo" else guest(GUESTS[name]()) as at:
        facts, columns = decoded(at, tmp_path)
        ranges = at.spaces().ranges
        trees = facts["processes"]
        assert [each["pid"] for each in trees] == [root.pid for root in ranges.roots]
        base = np.array([int(each["base"], 16) for each in trees], np.uint64)
        assert (columns["offset"].astype(np.uint64) + base[columns["root"]]).tolist() == ranges.ea.tolist()
        assert columns["ra"].astype(np.uint64).tolist() == ranges.ra.tolist()
        assert columns["shift"].tolist() == ranges.shift.tolist()
        assert columns["count"].astype(np.uint64).tolist() == ranges.count.tolist()
        assert [int(facts["flags"][at]["raw"], 16) for at in columns["flags"].tolist()] == ranges.flags.tolist()
        covers = [
            at.memory.ram.covers(ra, size) for ra, size in zip(ranges.ra.tolist(), ranges.size.tolist(), strict=True)
        ]
        assert columns["in_ram"].tolist() == covers
        assert facts["made"] == "2026-01-02T03:04:05Z"


def test_letters_are_those_of_the_language_of_rights(tmp_path: Path) -> None:
    facts, columns = decoded(guest(), tmp_path)
    flags = np.array([int(each["raw"], 16) for each in facts["flags"]], np.uint64)
    for letter in "rwxpuRC":
        assert [letter in each["letters"] for each in facts["flags"]] == parse(letter)(flags).tolist()
    assert set(columns["flags"].tolist()) == set(range(len(flags)))


def test_owners_are_those_of_the_guest(tmp_path: Path) -> None:
    facts, columns = decoded(guest(), tmp_path)

    def owner(ra: int) -> tuple[Owner, int]:
        row = int(np.searchsorted(columns["owner_start"], ra, side="right")) - 1
        assert columns["owner_start"][row] <= ra < columns["owner_end"][row]
        tree = int(columns["owner_root"][row])
        kind = Owner(int(columns["owner_kind"][row]))
        return kind, facts["processes"][tree]["pid"] if kind is Owner.PROCESS else -1

    assert owner(0x100) == (Owner.LINEAR_MAP, -1)
    assert owner(fakes.PROCESS_TABLE_AT) == (Owner.DESCRIPTORS, -1)
    assert owner(fakes.TABLES_AT) == (Owner.TABLE, -1)
    assert owner(fakes.USER_PAGES_AT) == (Owner.PROCESS, fakes.PID)
    assert owner(fakes.GiB) == (Owner.NOBODY, -1)
    assert owner(fakes.TIMA) == (Owner.KERNEL, -1)
    outside = columns["owner_start"][columns["owner_in_ram"] == 0]
    assert fakes.TIMA in outside.tolist()


def test_registers_roots_and_ram(tmp_path: Path) -> None:
    facts, _ = decoded(guest(), tmp_path)
    known = {cpu["cpu"]: {row[0]: row[1:] for _, rows in cpu["groups"] for row in rows} for cpu in facts["registers"]}
    assert known[0]["nip"][0] == f"{fakes.NIP:#018x}"
    assert "little-endian" in known[1]["msr"][1]
    assert known[1]["lpcr"] == [None, None], "unknown is not zero"
    assert facts["roots"]["process_table"] == hex(fakes.REGISTERED)
    assert facts["process_table"] == [hex(fakes.PROCESS_TABLE_AT), 1 << 24]
    assert facts["ram"] == [["0x0", hex(fakes.RAM_BYTES)], [hex(fakes.GiB), hex(fakes.GiB + fakes.MiB)]]
    assert facts["ram_names"][1][2] == "dimm1"


def test_findings_are_the_audits(tmp_path: Path) -> None:
    at = guest(broken_target())
    found = audit(at.spaces())
    facts, _ = decoded(at, tmp_path)
    assert found.findings
    assert [(each["rule"], each["severity"], each["pid"]) for each in facts["findings"]] == [
        (each.rule, each.severity, each.pid) for each in found
    ]
    assert [each["ea"] for each in facts["findings"]] == [None if each.ea is None else hex(each.ea) for each in found]
    assert facts["found"] == sum(found.counts.values())


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    at = guest()
    facts, columns = decoded(at, tmp_path, [fakes.PID, 99], most=2, notes=["And this."])
    notes = "\n".join(facts["notes"])
    for words in ("PID 99 is empty", "kernel's tree (PID 0) was not asked for", "Only the first 2 of", "And this."):
        assert words in notes
    assert len(columns["offset"]) == 2
    assert "may be changing" not in notes


def test_a_running_guest_says_so_and_tells_no_registers(tmp_path: Path) -> None:
    target = linux_target()
    control = FakeControl(target)
    at = guest(target)
    _ = at.roots
    control.resume()
    facts, _ = decoded(at, tmp_path)
    assert facts["registers"] == []
    assert any("changing" in note for note in facts["notes"])
    assert any("registers cannot be read" in note for note in facts["notes"])


def test_what_a_guest_says_of_itself_stays_text(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>\x1b[2J{{script}}"
    target = linux_target()
    target.name, target.machine = evil, {"kind": "fake", evil: [evil, True, None]}
    at = guest(target)
    facts, _ = decoded(at, tmp_path)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "alert(1)</script>" not in text
    assert "\x1b" not in text
    clean = evil.replace("\x1b", "\N{REPLACEMENT CHARACTER}")
    assert facts["target"] == clean
    assert [clean, f"{clean}, yes, not known"] in facts["machine"]


def test_a_page_that_is_there_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("mine")
    at = guest()
    what = contents(at, at.spaces())
    with pytest.raises(RecordError, match="already there"):
        write(str(path), what)
    assert path.read_text() == "mine"
    write(str(path), what, force=True)
    assert parts_of(path.read_bytes())[0]["notes"][-1] == "No audit was made."
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


def test_a_guest_of_a_hypervisor_is_told_by_the_hosts_real_addresses() -> None:
    with guest(kvm_host_target()) as host:
        lpid, pid = 1, 5
        spaces = host.spaces(lpid=lpid)
        owned = contents(host, spaces)
        ends = owned.columns["owner_start"], owned.columns["owner_kind"]
        tables = {start for start, kind in zip(*(each.tolist() for each in ends), strict=True) if kind == Owner.TABLE}
        root = next(each for each in owned.facts["processes"] if each["pid"] == pid)
        assert root["lpid"] == lpid
        assert int(root["root"], 16) == guest_to_host(spaces.roots[1].descriptor & RPDB_MASK)
        assert tables, "its tables are among the host's pages"
        assert all(0x4000_0000 <= start < 0x4000_0000 + (16 << 20) for start in tables)
        assert any("The host has nothing behind" in each for each in owned.facts["notes"])
