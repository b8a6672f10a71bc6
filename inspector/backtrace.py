"""How code came to be where it is: the frames of a stack, each step led by the tables.

A frame begins with the back chain, a pointer to the frame of its caller, and holds at 16 bytes from there where what it
called returns to, in both 64-bit ELF ABIs (64-bit ELF V2 ABI, 2.2.2; V1 the same).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from inspector.errors import InspectorError, MemoryReadError, TargetError
from inspector.linux.regions import region_of
from inspector.radix.bits import MSR_DR, MSR_IR, MSR_LE, MSR_PR

if TYPE_CHECKING:
    from inspector.guest import Guest

MOST = 32
"""Frames that are told."""
WORD = 8
SAVED_LR = 16
MARKER = frozenset({0x7265_6773_6865_7265, 0x5347_4552, 0x5245_4753})
"""What Linux puts into the frame of an interrupt: "regshere" in early kernels, by 6.1 "REGS" in either byte order
(arch/powerpc/include/asm/ptrace.h, ``STACK_FRAME_REGS_MARKER``)."""
MARKERS = (96, 32)
"""Where it is in a frame, in bytes: up to Linux 6.1 and in those of the V1 ABI, and from 6.2 on; ``struct pt_regs``
follows 16 bytes on."""
REGS_AFTER, REGS_SIZE = 16, 44 * 8
R1, NIP, MSR, LINK, TRAP = 8, 32 * 8, 33 * 8, 36 * 8, 40 * 8
"""Where ``struct pt_regs`` has them (arch/powerpc/include/uapi/asm/ptrace.h)."""
LINEAR_MAP = 0xC000_0000_0000_0000
MASK64 = (1 << 64) - 1
LEAST_PAGE = 4096

How = Literal["nip", "lr", "saved", "interrupted"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A place in the code. ``how`` says how it is known: as NIP; in LR, so that it may be long past; ``saved`` on the
    stack, as what the one before returns to; or as NIP of what interrupt ``trap`` came upon. ``stack`` is the frame
    that it was found in. ``name`` is its symbol and distance, or its region; "" where neither is known."""

    address: int
    how: How
    user: bool
    stack: int | None = None
    trap: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class BackTrace:
    """The innermost frame first; ``ended`` is a sentence that says why there are no more."""

    frames: tuple[Frame, ...]
    ended: str


class _End(Exception):
    """There is no next frame; the sentence says why."""


def back_trace(guest: Guest, cpu: int, known: Mapping[str, int], most: int = MOST) -> BackTrace:
    """How vCPU ``cpu`` came to where it is, by its registers (``known``, by canonical name) and its stack; at most so
    many frames. Whatever stops it is said, not raised, but for a target that is lost (TargetError)."""
    frames: list[Frame] = []
    try:
        for frame in _Walk(guest, cpu).frames(known):
            if len(frames) == most:
                return BackTrace(tuple(frames), f"{most} frames are enough")
            frames.append(frame)
    except _End as end:
        return BackTrace(tuple(frames), str(end))
    return BackTrace(tuple(frames), "the back chain ends")


def code_name(guest: Guest, address: int, *, user: bool = False, relocation: bool = True) -> str:
    """What is at ``address`` of the code: the kernel's symbol and how far from it, where symbols are known, or the
    region of Linux; "" where there is neither. With relocation off it is an address of the kernel's linear map."""
    ea = address if relocation else LINEAR_MAP | address
    if guest.symbols is not None and not user:
        found = guest.symbols.name_of(ea)
        if found is not None:
            return f"{found[0]}+{found[1]:#x}"
    region = region_of(ea) if relocation else None
    return "" if region is None else region.name


class _Walk:
    """One back trace: what kind of code it has come to, and how its stack is read."""

    def __init__(self, guest: Guest, cpu: int) -> None:
        self.guest, self.cpu = guest, cpu
        self.pid: int | None = None
        self.pages: dict[tuple[int, bool], int] = {}
        self.user = False
        self.relocation = self.little = True

    def frames(self, known: Mapping[str, int]) -> Iterator[Frame]:
        """Until the back chain ends. Raises _End with the reason where it cannot be followed."""
        msr, nip = known.get("msr"), known.get("nip")
        if msr is None or nip is None:
            raise _End("NIP or MSR is not known")
        self.pid = known.get("pid")
        self._state(msr)
        yield self._frame(nip, "nip")
        lr, stack = known.get("lr"), known.get("r1")
        if stack is not None:
            yield from self._chain(stack, lr)
            return
        if lr is not None:
            yield self._frame(lr, "lr")
        raise _End("r1, where the stack is, is not known")

    def _state(self, msr: int) -> None:
        self.user, self.little = bool(msr & MSR_PR), bool(msr & MSR_LE)
        self.relocation = msr & (MSR_IR | MSR_DR) == MSR_IR | MSR_DR

    def _chain(self, stack: int, lr: int | None) -> Iterator[Frame]:
        """The frames from the one at ``stack`` outwards. ``lr`` is told before them, unless it is what they begin with:
        a function saves it there and goes on."""
        seen = set()
        while True:
            if (stack, self.user) in seen:
                raise _End(f"the back chain comes back to {stack:#x}")
            seen.add((stack, self.user))
            try:
                above = self._word(stack)
                regs = None if self.user else self._interrupt(stack, above)
                saved = self._word(above + SAVED_LR) if above and regs is None else None
            except _End:
                if lr is not None:
                    yield self._frame(lr, "lr")
                raise
            if lr is not None and lr != saved:
                yield self._frame(lr, "lr")
            lr = None
            if regs is not None:
                nip, msr, trap = (self._word(regs + at) for at in (NIP, MSR, TRAP))
                lr, above = self._word(regs + LINK), self._word(regs + R1)
                self._state(msr)
                yield self._frame(nip, "interrupted", stack, trap)
            elif not above:
                return
            elif saved is None or not saved or saved % 4:
                raise _End(f"the frame at {above:#x} holds no return address")
            else:
                if self.user and above < stack:
                    raise _End(f"the back chain goes down from {stack:#x} to {above:#x}, as that of no stack does")
                yield self._frame(saved, "saved", above)
            stack = above

    def _interrupt(self, stack: int, above: int) -> int | None:
        """Where in this frame Linux saved the registers of what an interrupt came upon; None where it did not. They do
        not reach into the frame of its caller at ``above``, where that is higher up on the same stack."""
        for marker in MARKERS:
            if stack < above < stack + marker + REGS_AFTER + REGS_SIZE:
                continue
            try:
                if self._word(stack + marker) in MARKER:
                    return stack + marker + REGS_AFTER
            except _End:
                return None
        return None

    def _word(self, at: int) -> int:
        """A doubleword of the stack, as the code that is looked at would read it."""
        at &= MASK64
        if at % WORD:
            raise _End(f"{at:#x} is no place for a stack's frame: it is not a multiple of {WORD}")
        page = (at // LEAST_PAGE, self.user)
        try:
            if page not in self.pages:
                way = self.guest.translate(at, cpu=self.cpu, pid=self.pid if self.user else None)
                if way.ra is None:
                    raise _End(f"the stack at {at:#x} cannot be reached: {way.reason}")
                self.pages[page] = way.ra // LEAST_PAGE * LEAST_PAGE
            data = self.guest.memory.read(self.pages[page] + at % LEAST_PAGE, WORD)
        except MemoryReadError as error:
            raise _End(f"the stack at {at:#x} cannot be read: {error.why}") from None
        except TargetError:
            raise
        except InspectorError as error:
            raise _End(f"the stack at {at:#x} cannot be reached: {error}") from None
        return int.from_bytes(data, "little" if self.little else "big")

    def _frame(self, address: int, how: How, stack: int | None = None, trap: int | None = None) -> Frame:
        name = code_name(self.guest, address, user=self.user, relocation=self.relocation)
        return Frame(address, how, self.user, stack, trap, name)
