"""Puts the walker's answer and the model's into the same words."""

from __future__ import annotations

from inspector.radix import walk
from inspector.radix.address import Context
from inspector.radix.translation import Access, Translation
from tests.radix.qemu_model import AS_IS, Cpu, Quirks, Raised
from tests.radix.trees import EA, Memory, World


def cpu_of(memory: Memory, context: Context, quirks: Quirks = AS_IS) -> Cpu:
    """The model's vCPU with the registers of this context."""
    return Cpu(
        ram=lambda address: memory.word(address) if memory.holds(address) else None,
        msr=context.msr or 0,
        pid=context.pid or 0,
        lpidr=context.lpidr or 0,
        ptcr=context.ptcr or 0,
        amr=context.amr or 0,
        iamr=context.iamr or 0,
        hrmor=context.hrmor or 0,
        patb_entry=context.process_table if context.flat else None,
        quirks=quirks,
    )


def outcome(cpu: Cpu, ea: int, access: Access) -> tuple[object, ...]:
    """What the model says: ("ok", real address, page shift) or ("fault", interrupt, its bits)."""
    try:
        raddr, psize, _ = cpu.xlate(ea, access)
    except Raised as raised:
        return "fault", raised.name, raised.bits
    return "ok", raddr, psize


def answer(translation: Translation) -> tuple[object, ...]:
    """What the walker says, in the same words."""
    if translation.ok:
        return "ok", translation.ra, translation.page_shift
    assert translation.interrupt is not None, translation
    return "fault", translation.interrupt.name, translation.interrupt.bits


def hardware(world: World, ea: int = EA, access: Access | None = "r") -> Translation:
    """The hardware's answer, which is QEMU's too (without an access, QEMU's for a load)."""
    ours = walk.translate(world.reader(), world.context, ea, access)
    if access:
        assert answer(ours) == outcome(cpu_of(world.memory, world.context), ea, access)
    return ours


def faults(translation: Translation, cause: str, name: str, bits: int = 0) -> None:
    assert (translation.status, translation.cause) == ("fault", cause), translation
    assert translation.interrupt is not None
    assert (translation.interrupt.name, translation.interrupt.bits) == (name, bits)
    assert translation.ra is None
