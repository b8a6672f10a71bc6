"""The code at an address of a guest: fetched by its tables as the CPU would, in the byte order that it runs in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from inspector.errors import MemoryReadError
from inspector.instructions.decode import WORD, Instruction, decode, is_prefix
from inspector.radix.bits import MSR_LE

if TYPE_CHECKING:
    from inspector.guest import Guest
    from inspector.radix.translation import Translation

MASK64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Fetched:
    """What is at EA ``address``: the instruction, or None with a sentence in ``why``; ``translation`` is the way to its
    first byte, None where the guest was not asked for it."""

    address: int
    instruction: Instruction | None
    translation: Translation | None
    why: str = ""


def fetched(
    guest: Guest,
    ea: int,
    *,
    little: bool | None = None,
    cpu: int | None = None,
    pid: int | None = None,
    lpid: int | None = None,
    guest_real: bool = False,
) -> Fetched:
    """The instruction at ``ea``, by the hardware's tables and without asking whether it may be executed; as whom it is
    asked is as ``Guest.translate`` has it. ``little`` is the byte order of the code, by MSR[LE] of the vCPU where it is
    None, which is right for what this very vCPU runs.

    What cannot be reached or read is said, not raised. Raises UsageError and UnknownRegister as ``Guest.translate``
    does, and for an MSR that is wanted and not known."""
    if little is None:
        little = bool(guest.registers(cpu, ("msr",)).need("msr") & MSR_LE)
    if ea % WORD:
        return Fetched(ea, None, None, f"{ea:#x} is not a multiple of {WORD}: no instruction can be there")
    ask = partial(guest.translate, cpu=cpu, pid=pid, lpid=lpid, guest_real=guest_real)
    way = ask(ea)
    try:
        word = _word(guest, way, little)
        if word is None:
            return Fetched(ea, None, way, f"no tables lead to it: {way.reason}")
        suffix = _word(guest, ask((ea + WORD) & MASK64), little) if is_prefix(word) else None
    except MemoryReadError as error:
        return Fetched(ea, None, way, f"its bytes cannot be read: {error.why}")
    return Fetched(ea, decode(ea, word, suffix), way)


def instruction_behind(guest: Guest, way: Translation, little: bool) -> Instruction | None:
    """The instruction of 4 bytes that a fetch comes to; None where it comes nowhere, or that cannot be read."""
    try:
        word = None if way.ea % WORD else _word(guest, way, little)
    except MemoryReadError:
        return None
    return None if word is None else decode(way.ea, word)


def around(
    guest: Guest,
    ea: int,
    before: int = 4,
    after: int = 4,
    *,
    little: bool | None = None,
    cpu: int | None = None,
    pid: int | None = None,
    lpid: int | None = None,
    guest_real: bool = False,
) -> Iterator[Fetched]:
    """The instructions in so many words before ``ea`` and after it, in order, the one at ``ea`` among them.

    Nothing says where those of 8 bytes begin before it: a word there that would reach into ``ea`` stands alone."""
    get = partial(fetched, guest, little=little, cpu=cpu, pid=pid, lpid=lpid, guest_real=guest_real)
    at, end = max(ea - WORD * before, ea % WORD), min(ea + WORD * after, MASK64 - WORD + 1)
    while at <= end:
        found = get(at)
        size = found.instruction.size if found.instruction else WORD
        if at < ea < at + size:
            assert found.instruction is not None
            found = Fetched(at, decode(at, found.instruction.word), found.translation)
            size = WORD
        yield found
        at += size


def _word(guest: Guest, way: Translation, little: bool) -> int | None:
    """The instruction word that a translation leads to, None where it leads nowhere."""
    if way.ra is None:
        return None
    return int.from_bytes(guest.memory.read(way.ra, WORD), "little" if little else "big")
