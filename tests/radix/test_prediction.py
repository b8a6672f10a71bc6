"""What a fault writes down, and what registers record: as the ISA's vectors and bits have them, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inspector.radix import walk
from inspector.radix.hindsight import Held, Now, held
from inspector.radix.prediction import FETCH_ONLY, Prediction, Record, interrupted, predict, records, same_page
from inspector.radix.translation import Access, Interrupt, Translation
from tests.radix.trees import EA, EXEC, GUARDED, LEAF, PR, PRIV, READ, RELOCATED, VALID, WRITE, World, flat, partitioned

LEAF_AT = VALID | LEAF | 0x1234_5000
NOPTE, NOEXEC, PROT, STORE, BADCONFIG, PRTABLE = 1 << 30, 1 << 28, 1 << 27, 1 << 25, 1 << 19, 1 << 17


def predicted(world: World, access: Access, ea: int | None = None) -> Prediction | None:
    answer = walk.translate(world.reader(), world.context, world.eas[0] if ea is None else ea, access)
    return predict(answer, world.context)


@pytest.mark.parametrize(
    ("rights", "access", "name", "vector", "bits"),
    [
        (READ, "w", "DSI", 0x300, PROT | STORE),
        (EXEC, "r", "DSI", 0x300, PROT),
        (READ | WRITE, "x", "ISI", 0x400, NOEXEC),
        (READ | EXEC | GUARDED, "x", "ISI", 0x400, NOEXEC),
        (READ | WRITE | PRIV, "r", "DSI", 0x300, PROT),
    ],
)
def test_a_page_that_does_not_allow_it(rights: int, access: Access, name: str, vector: int, bits: int) -> None:
    raised = predicted(flat(LEAF_AT | rights), access)
    assert raised is not None
    assert (raised.name, raised.vector, raised.bits) == (name, vector, bits)
    if access == "x":
        assert raised.registers == {"srr0": EA, "srr1": RELOCATED | PR | bits}
    else:
        assert raised.registers == {"dar": EA, "dsisr": bits}


def test_segment_interrupts_leave_dsisr_alone_and_nothing_in_srr1() -> None:
    for ea in (EA | 1 << 52, EA | 1 << 62):
        data, fetch = predicted(flat(), "w", ea), predicted(flat(), "x", ea)
        assert data is not None
        assert fetch is not None
        assert (data.name, data.vector, data.registers) == ("DSEG", 0x380, {"dar": ea})
        assert (fetch.vector, fetch.registers) == (0x480, {"srr0": ea, "srr1": RELOCATED | PR})


def test_what_goes_well_and_what_is_not_known_raise_nothing() -> None:
    assert predicted(flat(), "r") is None
    world = flat(LEAF_AT | READ)
    world.context = replace(world.context, msr=None)
    raised = predicted(world, "x")
    assert raised is not None
    assert raised.registers == {"srr0": EA}, "the rest of SRR1 is MSR's"


def test_the_second_stage_names_the_guest_real_address_in_asdr() -> None:
    world, space = partitioned(LEAF_AT | READ | WRITE | EXEC)
    for access, name, vector in (("r", "HDSI", 0xE00), ("w", "HDSI", 0xE00), ("x", "HISI", 0xE20)):
        raised = predicted(world, access)  # type: ignore[arg-type]
        assert raised is not None
        assert (raised.name, raised.vector) == (name, vector)
        assert raised.registers["asdr"] == 0x1234_5000 | EA & 0xFFF
        assert raised.older_qemu is None
    table = world.entry
    page = next(page for page, at in space.pages.items() if at <= table < at + (1 << space.shift))
    world.memory.put(space.paths[page][0], 0)
    fetch = predicted(world, "x")
    assert fetch is not None
    assert (fetch.name, fetch.bits) == ("HISI", NOPTE | PRTABLE)
    assert fetch.registers["asdr"] == (page << space.shift) + table - space.pages[page]
    older = fetch.older_qemu
    assert older is not None
    assert (older.name, older.registers["hdsisr"]) == ("HDSI", NOPTE | PRTABLE)
    store = predicted(world, "w")
    assert store is not None
    assert store.older_qemu is not None
    assert store.registers["hdsisr"] & ~store.older_qemu.registers["hdsisr"] == STORE


def test_records_are_what_registers_say() -> None:
    assert list(records({})) == []
    assert list(records({"dar": 0, "dsisr": 0, "srr0": EA, "srr1": RELOCATED})) == []
    (load,) = records({"dar": EA, "dsisr": NOPTE})
    assert (load.ea, load.access, load.hypervisor) == (EA, "r", False)
    (segment,) = records({"dar": EA, "dsisr": 0})
    assert segment.access is None
    (fetch,) = records({"srr0": EA, "srr1": RELOCATED | NOEXEC})
    assert (fetch.access, fetch.bits, fetch.doubtful) == ("x", NOEXEC, False)
    (program,) = records({"srr0": EA, "srr1": RELOCATED | 1 << 19})
    assert program.doubtful
    (store,) = records({"hdar": EA, "hdsisr": PROT | STORE, "asdr": 0x1000})
    assert (store.access, store.hypervisor, store.guest_real, store.registers) == (
        "w",
        True,
        0x1000,
        ("HDAR", "HDSISR"),
    )
    assert list(records({"hdar": EA, "hdsisr": 0x7FFF})) == [], "KVM's canary"
    assert same_page(store, EA ^ 8)
    assert not same_page(store, EA ^ 0x1000)
    assert interrupted(flat().context, RELOCATED | FETCH_ONLY | 1 << 18).msr == RELOCATED


def _judged(bits: int, now: Translation, software: Translation | None = None) -> Held:
    world = flat()
    record = Record(("DAR", "DSISR"), EA, bits, "w" if bits & STORE else "r")
    return held(record, [Now("as it is", now, predict(now, world.context))], software)


def test_a_record_that_differs_is_explained() -> None:
    good = walk.translate(flat().reader(), flat().context, EA, "r")
    gone = Translation(EA, "hardware", "fault", "r", cause="x", interrupt=Interrupt("DSI", NOPTE))
    kvm = Translation(EA, "kvm", "fault", errno="ENOENT", reason="not there")
    assert _judged(NOPTE, gone).verdict == "agrees"
    assert _judged(BADCONFIG, gone).verdict == "changed-since"
    since = _judged(NOPTE, good)
    assert since.verdict == "changed-since"
    assert "handled" in since.says
    assert _judged(NOPTE, good, kvm).verdict == "other-walker"
    assert _judged(BADCONFIG, good, kvm).verdict == "changed-since"
    assert _judged(NOPTE | 1 << 22, good).verdict == "not-radix"
    assert "read-only slot" in _judged(PROT | STORE, good).says
