"""The hardware walker against QEMU's own translation, on real guests: as they are, and with their tables broken.

``gva2gpa`` walks afresh each time, so tables can be changed in the shared RAM file of a stopped guest and asked again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import inspector
from inspector.guest import Guest
from scripts.guests import Machine
from scripts.oracle import addresses, disagreements, effective, gva2gpa, leaves, ours
from tests.live.tables import Tables, broken

pytestmark = pytest.mark.live

ADDRESSES = 2000
CHANGES = 1500


@contextmanager
def looked_into(machine: Machine, process_table: int | None = None) -> Iterator[Guest]:
    """The guest, stopped and attached to, its RAM read from the shared file."""
    with inspector.open_target(machine.target, ram=str(machine.ram_file), process_table=process_table) as guest:
        yield guest


@pytest.mark.guests("pseries-p9", "pseries-p10", "powernv9")
def test_thousands_of_addresses_go_where_qemu_says(guest: Machine) -> None:
    with looked_into(guest) as seen:
        for cpu in seen.target.cpus:
            asked = list(addresses(seen, ADDRESSES, seed=cpu))
            assert sum(gva2gpa(guest, ea, cpu) is not None for ea in asked[:200]) > 20, "too few go anywhere"
            assert disagreements(guest, seen, asked, cpu) == []


@pytest.mark.guests("pseries-p9")
def test_every_size_of_page_and_an_io_mapping_were_asked_about(guest: Machine) -> None:
    with looked_into(guest) as seen:
        found = list(leaves(seen))
        assert {leaf.shift for _, leaf in found} >= {16, 21}
        assert any(pid for pid, _ in found), "no process has a tree"
        devices = [leaf for pid, leaf in found if not seen.memory.ram.covers(leaf.ra, 1)]
        assert devices, "no device is mapped"
        assert disagreements(guest, seen, [effective(0, leaf) for leaf in devices]) == []


@pytest.mark.guests("pseries-p9", "powernv9")
def test_broken_tables_end_as_they_do_in_qemu(guest: Machine) -> None:
    rng = random.Random(70)
    with looked_into(guest) as first:
        registered = first.roots.process_table
    with looked_into(guest, process_table=registered) as seen:
        tables = Tables(guest)
        try:
            asked = [ea for ea in addresses(seen, 400, seed=4) if seen.translate(ea).ok]
            walked = [
                (ea, step) for ea in asked for step in seen.translate(ea).steps if step.table != "partition-table"
            ]
            others = [step.value or 0 for _, step in walked]
            causes: dict[str | None, int] = {}
            wrong = []
            for _ in range(CHANGES):
                ea, step = rng.choice(walked)
                value = broken(rng, step, others, guest.ram_size)
                if not value & 1 << 62 and value & 0x0FFF_FFFF_FFFF_FF00 >= 2 * guest.ram_size:
                    continue  # a table among the devices, which QEMU would read: it can crash it
                with tables.holding(step.address, value):
                    seen.target.clock.tick()
                    theirs, mine = gva2gpa(guest, ea), ours(seen, ea)
                    answer = seen.translate(ea)
                causes[answer.cause] = causes.get(answer.cause, 0) + 1
                if theirs != mine:
                    wrong.append(f"{ea:#x} with {value:#018x} at {step.address:#x}: QEMU {theirs}, ours {mine}")
            assert wrong == []
            expected = {None, "not-present", "table-size", "tree-size", "no-leaf", "table-not-ram"}
            assert expected - set(causes) == set(), causes
            seen.target.clock.tick()
            assert disagreements(guest, seen, asked) == [], "the tables were not put back as they were"
        finally:
            tables.close()
