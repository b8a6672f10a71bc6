"""Guests whose vCPU 0 is held up by an access, and samples of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inspector.guest import Guest
from inspector.radix.translation import Access, Step
from inspector.triage.found import ENOUGH
from inspector.triage.samples import MOST, Sample
from inspector.triage.stuck import Stuck, stuck
from tests.fakes import KERNEL, NIP, FakeTarget, MiB, guest, linux_target

LOAD, STORE, SYSTEM_CALL = bytes.fromhex("0000a4e8"), bytes.fromhex("0000a4f8"), bytes.fromhex("02000044")
"""``ld r5,0(r4)``, ``std r5,0(r4)`` and ``sc``, little-endian."""
NO_ENTRY, FORBIDDEN, STORED, NO_EXECUTE = 0x4000_0000, 0x0800_0000, 0x0200_0000, 0x1000_0000
BAD_SHAPE, NO_R_OR_C, OF_A_TABLE = 0x8_0000, 0x4_0000, 0x2_0000
HANDLER, HANDLERS_MSR = KERNEL + 0x300, 0x8000_0000_0280_3033
DATA_EA = KERNEL + 40 * MiB
"""The kernel's, in a page of 2 MiB."""
APART = 0.05
"""Seconds from one sample to the next."""


def held_up(ea: int, bits: int, /, code: bytes = LOAD, **registers: int) -> FakeTarget:
    """The pseries guest, whose kernel is about to make again, by r4, the access that it recorded."""
    target = linux_target()
    target.source.put(NIP - KERNEL, code)
    target.set(0, **{"r4": ea, "dar": ea, "dsisr": bits, "srr0": NIP, "srr1": target.files[0].need("msr"), **registers})
    return target


def sampled(
    target: FakeTarget,
    changes: Callable[[int], dict[str, int]] = lambda _: {},
    *,
    count: int = MOST,
    apart: float = APART,
    cpu: int = 0,
    halted: bool = False,
) -> list[Sample]:
    """So many samples of the guest; ``changes`` is what a vCPU's registers are besides, in each of them."""
    samples = []
    for number in range(count):
        known = {each: dict(file.values) for each, file in target.files.items()}
        known[cpu] |= changes(number)
        samples.append(Sample(number * apart, known, {cpu: halted}))
    return samples


def in_handler(number: int) -> dict[str, int]:
    """The vCPU in its handler, further on each time, with registers of the handler's own."""
    return {"nip": HANDLER + 4 * number, "msr": HANDLERS_MSR, "r4": number}


def elsewhere(number: int) -> dict[str, int]:
    """The vCPU at other things, with other interrupts behind it."""
    return {"nip": NIP + 0x1000 + 4 * number, "srr0": NIP + 0x2000 + 4 * number}


def but_in(times: Sequence[int], usual: Callable[[int], dict[str, int]]) -> Callable[[int], dict[str, int]]:
    """The same in all samples but these, in which nothing is changed."""
    return lambda number: {} if number in times else usual(number)


def found(target: FakeTarget, samples: list[Sample] | None = None) -> tuple[Stuck, ...]:
    """What is stuck in nine samples that are all alike, or in these."""
    return stuck(Guest(target), sampled(target) if samples is None else samples, ENOUGH)


def entry(target: FakeTarget, ea: int, level: int | None, access: Access = "r", pid: int | None = None) -> Step:
    """The entry of this level on the way to ``ea``, of the process's table where it is None."""
    steps = guest(target).translate(ea, access=access, pid=pid).steps
    table = "process-table" if level is None else "radix"
    return next(step for step in steps if step.stage == 1 and step.level == level and step.table == table)


def change(target: FakeTarget, step: Step, gone: int = 0, come: int = 0) -> None:
    """Take bits out of an entry, and put others in."""
    target.source.put_word(step.address, target.source.word(step.address) & ~gone | come)
