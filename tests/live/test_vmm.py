"""The VMM of each live guest, inferred: held to where the monitors themselves say that they have their guests' memory,
and to the leaves that KVM made of it."""

from __future__ import annotations

import pytest

import inspector
from inspector.guest import Guest
from inspector.radix.bits import PTE_C, PTE_WRITE
from inspector.vmm import Vmm, vmm_of
from scripts.scene import KvmGuest, Scene
from tests.commands.asking import ask, newest, objects

pytestmark = pytest.mark.live


def _vmm(seen: Guest, guest: KvmGuest) -> Vmm:
    found = vmm_of(seen, guest.lpid)
    assert found is not None
    assert found.sure
    return found


def test_slots_are_where_the_monitors_say_they_are(scene: Scene) -> None:
    with inspector.open_target(scene.machine.target, ram=str(scene.machine.ram_file)) as seen:
        pids = set()
        for guest in scene.guests:
            vmm = _vmm(seen, guest)
            pids.add(vmm.pid)
            for slot in vmm.slots:
                made = guest.layout.slot(slot.base)
                assert made is not None
                assert slot.end <= made.gpa + made.size
                assert slot.hva - slot.base == guest.hva[made.gpa] - made.gpa
        assert len(pids) == len(scene.guests)


def test_each_leaf_that_kvm_made_is_made_again(scene: Scene) -> None:
    """All are taken away on an overlay, and a fault for each puts back the same entry, by the VMM that is inferred: but
    for C, which a dirty log that was read since took from it."""
    with inspector.open_target(scene.machine.target, ram=str(scene.machine.ram_file)) as seen:
        for guest in scene.guests:
            before = seen.partition(guest.lpid).spaces.columns.in_order()
            slots = " ".join(f"--slot {each.gpa}:{each.size}{_flags(each.options)}" for each in guest.layout.slots)
            places = list(zip(before.ea.tolist(), before.entry.tolist(), strict=True))
            list(ask(newest(f"unmap {' '.join(str(gpa) for gpa, _ in places)} --lpid {guest.lpid}"), seen))
            assert not len(seen.partition(guest.lpid).spaces.columns)
            for gpa, entry in places:
                stores = entry & PTE_WRITE and entry & PTE_C
                bits = "nopte|store" if stores else "nopte"
                words = f"fault 0 --gpa {gpa} --dsisr '{bits}' --lpid {guest.lpid} {slots}"
                (answer,) = (each for each in objects(ask(newest(words), seen)) if "note" not in each)
                assert int(answer["installed"]["raw"], 0) == _anew(entry)
            after = seen.partition(guest.lpid).spaces.columns.in_order()
            assert after.entry.tolist() == [_anew(entry) for _, entry in places]
            assert (after.shift == before.shift).all()


def _anew(entry: int) -> int:
    """A leaf as KVM makes it: what may be written to is dirty from the first."""
    return entry | PTE_C if entry & PTE_WRITE else entry


def _flags(options: str) -> str:
    return ",readonly" if "readonly" in options else ",log" if "logged" in options else ""
