"""Where the tables begin: the process table or the partition table, how it was found, and how sure that is.

In order: the value that the user gave; PTCR (a bare machine has its partition table there); what the snapshot's
manifest says; the kernel's own variable ``process_tb``, with symbols; a search of RAM. A pseries guest registers its
process table by a hypercall (H_REGISTER_PROC_TBL), which no register shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from inspector.errors import MemoryReadError, UnknownRegister, UnknownSymbol
from inspector.memory.physical import PhysicalMemory
from inspector.radix.address import Context
from inspector.radix.bits import (
    ENTRY_BYTES,
    LPCR_HR,
    MSR_DR,
    MSR_HV,
    MSR_IR,
    MSR_LE,
    PATE1_GR,
    PRTB_MASK,
    PRTS_MASK,
    PTCR_PATB,
    PTCR_PATS,
    PTE_EXEC,
    PTE_PRIVILEGED,
    REAL_MODE_MASK,
    RPDB_MASK,
    table_bytes,
)
from inspector.radix.walk import translate

Sureness = Literal["given", "certain", "confirmed", "likely", "unknown"]
SURENESS: tuple[Sureness, ...] = ("given", "certain", "confirmed", "likely", "unknown")
MmuState = Literal["radix", "mmu-off", "nothing-registered", "hash-mmu", "not-found"]

LINEAR_MAP = 0xC000_0000_0000_0000
"""Where Linux maps all of RAM (``arch/powerpc/include/asm/book3s/64/radix.h``, 6.1)."""

KERNEL_ENTRY_MASK = 0xF000_0000_0000_00FF
KERNEL_ENTRY = 0x4000_0000_0000_00AD
"""Entry 0 of Linux's process table: RTS for 52 bits, a root of 2^13 entries (radix-only, rigid)."""
ROOT_BYTES = 8 << 13

SEARCH_STEPS = (1 << 24, 1 << 23, 1 << 20, 1 << 16, 1 << 12)
"""Alignments tried, coarse to fine: Linux aligns the table to its size, 16 MiB for 20 PID bits, 8 MiB for 19."""
SLOW_SEARCH_STEP = 1 << 16
"""A source that costs a round trip a read is not searched finer than this."""


class Symbols(Protocol):
    """What is asked of a kernel's symbol table."""

    def address(self, name: str) -> int:
        """Raises UnknownSymbol."""

    @property
    def byte_order(self) -> Literal["little", "big"]:
        """The kernel's."""

    @property
    def byte_order_known(self) -> bool:
        """False for a list of symbols that does not say (System.map)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way that was tried, and how it ended, in words."""

    way: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Roots:
    """Where the tables begin.

    ``flat`` is a machine whose hypervisor is out of sight (pseries), with ``process_table`` the registered value, size
    field included; else ``ptcr`` leads to the partition table. ``state`` is "radix" where a root is known, and else
    says what the guest is doing instead, with ``explanation`` for a person."""

    flat: bool
    state: MmuState
    explanation: str
    process_table: int | None = None
    ptcr: int | None = None
    how: str = ""
    sure: Sureness = "unknown"
    attempts: tuple[Attempt, ...] = ()


Progress = Callable[[str, int, int], None]
"""Told what is being done, how far it is, and of how much."""


def _quiet(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the roots are found from: RAM, the vCPUs' contexts with their NIPs, and what else is known."""

    memory: PhysicalMemory
    contexts: Sequence[tuple[Context, int | None]]
    given: int | None = None
    recorded: int | None = None
    recorded_how: str = ""
    recorded_sure: str = ""
    symbols: Symbols | None = None
    progress: Progress = _quiet


def find(evidence: Evidence) -> Roots:
    """Find the roots, in the order that the module's text gives. Never raises for what is not there."""
    first = evidence.contexts[0][0]
    hypervisor = any(context.msr is not None and context.msr & MSR_HV for context, _ in evidence.contexts)
    ptcr = next((context.ptcr for context, _ in evidence.contexts if context.ptcr), None)
    attempts: list[Attempt] = []

    def found(value: int, how: str, sure: Sureness) -> Roots:
        return Roots(True, "radix", _table_words(value), value, None, how, sure, tuple(attempts))

    if evidence.given is not None:
        if not evidence.given & ~PATE1_GR:  # as QEMU's patb_entry stands before the hypercall: 0, or GR alone under KVM
            return Roots(
                True,
                "nothing-registered",
                f"the value given with --process-table, {evidence.given:#x}, registers nothing: it stands so "
                "before a guest has registered its process table; give another, or leave the option out",
            )
        return found(evidence.given, "given with --process-table", "given")
    if ptcr:
        words = f"partition table at {ptcr & PTCR_PATB:#x}, {table_bytes(ptcr & PTCR_PATS) // ENTRY_BYTES} entries"
        return Roots(False, "radix", words, None, ptcr, "PTCR", "certain")
    if hypervisor:
        return Roots(
            False,
            "mmu-off",
            "PTCR is 0: this bare machine has set up no partition table yet, so it runs with translation off, "
            "as firmware and a starting kernel do",
            attempts=(Attempt("PTCR", "is 0"),),
        )
    if first.ptcr is not None:
        attempts.append(Attempt("PTCR", "is 0, as on a machine whose hypervisor is out of sight (pseries)"))
    if evidence.recorded is not None:
        sure: Sureness = next((each for each in SURENESS if each == evidence.recorded_sure), "likely")
        return found(evidence.recorded, evidence.recorded_how, sure)
    before = _before_radix(evidence)
    if before and (before.state == "hash-mmu" or evidence.symbols is None):
        return replace(before, attempts=tuple(attempts))
    for way in (_from_symbols, _from_search):
        value, attempt = way(evidence)
        attempts.append(attempt)
        if value == 0:
            before = _nothing_registered()
        elif value is not None:
            judged = _confirm(evidence, value)
            if judged is None:
                return found(value, attempt.way, "likely")
            attempts.append(Attempt(f"walking from {value & PRTB_MASK:#x}", judged.why))
            if judged.holds:
                return found(value, f"{attempt.way}, {judged.why}", "confirmed")
        if before:
            break
    return replace(before or _unfound(evidence), attempts=tuple(attempts))


def kept(evidence: Evidence, before: Roots) -> Roots | None:
    """The roots found ``before`` where they still hold, so that RAM need not be searched again; else None.

    A table that still looks like one, but whose tree no longer translates what it did, is held on to and said to be
    no more than likely: a broken tree is what is being looked at, more often than a table that has moved."""
    value = before.process_table
    if value is None or before.sure not in ("confirmed", "likely") or _before_radix(evidence):
        return None
    judged = _confirm(evidence, value)
    way = f"walking from {value & PRTB_MASK:#x} anew"
    told = tuple(attempt for attempt in before.attempts if attempt.way != way)
    if judged is not None and judged.holds:
        return replace(before, sure="confirmed", attempts=told)
    try:
        entry = evidence.memory.read_u64(value & PRTB_MASK)
    except MemoryReadError:
        return None
    if entry & KERNEL_ENTRY_MASK != KERNEL_ENTRY:
        return None
    now = Attempt(way, judged.why if judged else "could not be done")
    return replace(before, sure="likely", attempts=(*told, now))


def _table_words(value: int) -> str:
    size = table_bytes(value & PRTS_MASK)
    return f"process table at {value & PRTB_MASK:#x}, {size // ENTRY_BYTES} entries"


def _unfound(evidence: Evidence) -> Roots:
    if any(context.lpcr is not None and context.lpcr & LPCR_HR for context, _ in evidence.contexts):
        why = "the guest says that it uses radix (LPCR[HR]), but its process table was not found"
    else:
        why = "no process table was found, and no register is known that says whether this guest uses radix"
    return Roots(
        True, "not-found", f"{why}; give it with --process-table VALUE, or the kernel image with --vmlinux FILE"
    )


def _nothing_registered() -> Roots:
    return Roots(
        True,
        "nothing-registered",
        "the kernel's process_tb is still 0: it has not allocated its process table yet, so nothing is registered; "
        "look again once radix__early_init_mmu has run",
    )


def _before_radix(evidence: Evidence) -> Roots | None:
    """What a guest is doing whose registers say that it does not use radix now; None where they do not say so."""
    known = [context for context, _ in evidence.contexts if context.lpcr is not None and context.msr is not None]
    if not known or any((context.lpcr or 0) & LPCR_HR for context in known):
        return None
    if any((context.msr or 0) & (MSR_IR | MSR_DR) for context in known):
        return Roots(
            True,
            "hash-mmu",
            "LPCR[HR] is 0 and translation is on: this guest uses the hashed page table, which has no radix tree to "
            "look into; Linux chooses radix unless started with disable_radix",
        )
    return Roots(
        True,
        "mmu-off",
        "translation is off on every vCPU and LPCR[HR] is 0: this is firmware, or a kernel that has not registered a "
        "process table yet; addresses are real until it does",
    )


def _from_symbols(evidence: Evidence) -> tuple[int | None, Attempt]:
    """``process_tb`` is a pointer in the kernel's byte order, into the linear map; a value of 0 is a table that the
    kernel has yet to allocate, and None one that is not found this way."""
    way = "the kernel's process_tb"
    symbols = evidence.symbols
    if symbols is None:
        return None, Attempt(way, "no kernel image was given (--vmlinux)")
    order = symbols.byte_order if symbols.byte_order_known else _running_order(evidence)
    try:
        at = symbols.address("process_tb") & REAL_MODE_MASK
        pointer = int.from_bytes(evidence.memory.read(at, 8), order)
    except (UnknownSymbol, MemoryReadError) as error:
        return None, Attempt(way, str(error))
    if pointer == 0:
        return 0, Attempt(way, "is 0: the kernel has not allocated its process table yet")
    base = pointer & REAL_MODE_MASK
    if base & 0xFFF or not evidence.memory.ram.covers(base, 1 << 12):
        return None, Attempt(way, f"is {pointer:#x}, which is no page of RAM: is this the kernel that runs?")
    try:
        pid_bits = int.from_bytes(evidence.memory.read(symbols.address("mmu_pid_bits") & REAL_MODE_MASK, 4), order)
    except (UnknownSymbol, MemoryReadError):
        pid_bits = 0
    size_field = pid_bits + 4 - 12 if 8 <= pid_bits <= 32 else _assumed_size(base)
    return PATE1_GR | base | size_field, Attempt(way, f"points to {base:#x}")


def _running_order(evidence: Evidence) -> Literal["little", "big"]:
    """The byte order that a vCPU with translation on runs in: the kernel's, or a process of it."""
    on = [c.msr for c, _ in evidence.contexts if c.msr is not None and c.msr & MSR_IR]
    return "big" if on and not on[0] & MSR_LE else "little"


def _assumed_size(base: int) -> int:
    """PRTS from the table's alignment, since Linux aligns it to its size: 12 (20 PID bits) at most."""
    for size_field in range(12, 0, -1):
        if base % table_bytes(size_field) == 0:
            return size_field
    return 0


def _candidates(evidence: Evidence) -> Iterator[int]:
    """Aligned addresses of RAM that is there to be read, coarse to fine, none twice."""
    memory = evidence.memory
    spans = list(memory.within(0, 1 << 64))
    done = coarser = 0
    for step in SEARCH_STEPS:
        # Asked anew for each step: a live guest's source may have found a faster way meanwhile.
        finest = SEARCH_STEPS[-1] if memory.source.cheap else SLOW_SEARCH_STEP
        total = sum((end - start) // finest for start, end in spans)
        if step < finest:
            return
        for start, end in spans:
            for address in range((start + step - 1) // step * step, end, step):
                if coarser and address % coarser == 0:
                    continue
                done += 1
                if done % 512 == 0:
                    evidence.progress("searching RAM for the process table", done, total)
                yield address
        coarser = step


def _from_search(evidence: Evidence) -> tuple[int | None, Attempt]:
    """The first table that looks like Linux's and translates the linear map."""
    way = "a search of RAM"
    memory = evidence.memory
    memory.expect(memory.ram.total)  # through gdb, QEMU's kernel reads ahead of each place that the guest never touched
    looked = 0
    for address in _candidates(evidence):
        looked += 1
        try:
            entry = memory.read(address, 4 * 8)
        except MemoryReadError:
            continue
        first, second, third, fourth = (int.from_bytes(entry[at : at + 8], "big") for at in (0, 8, 16, 24))
        if first & KERNEL_ENTRY_MASK != KERNEL_ENTRY or second or third or fourth:
            continue
        root = first & RPDB_MASK
        if root % ROOT_BYTES or not memory.ram.covers(root, ROOT_BYTES):
            continue
        value = PATE1_GR | address | _assumed_size(address)
        judged = _confirm(evidence, value)
        if judged is None or judged.holds:
            return value, Attempt(way, f"found it at {address:#x}; its size is told from its alignment")
    return None, Attempt(way, f"looked at {looked} places and found none that translates the linear map")


@dataclass(frozen=True, slots=True)
class _Judgement:
    """Whether a table translates what the guest's kernel must have mapped, and in words why it does or does not."""

    holds: bool
    why: str


def _confirm(evidence: Evidence, value: int) -> _Judgement | None:
    """Whether this table translates the linear map and every kernel NIP; None where nothing could be asked."""
    asked = []
    for context, nip in evidence.contexts:
        base = replace(context, flat=True, process_table=value, msr=(context.msr or 0) | MSR_IR | MSR_DR, lpcr=None)
        try:
            linear = translate(evidence.memory.read_u64, base, LINEAR_MAP)
        except UnknownRegister:
            return None
        if linear.cause == "table-not-captured":
            return None
        kernel_page = PTE_PRIVILEGED | PTE_EXEC
        if not linear.ok or linear.ra != 0 or (linear.leaf or 0) & kernel_page != kernel_page:
            return _Judgement(
                False, f"does not translate the start of the linear map ({linear.reason or 'wrong leaf'})"
            )
        relocated = context.msr is not None and context.msr & MSR_IR
        if nip is None or not relocated or nip < LINEAR_MAP:
            continue
        code = translate(evidence.memory.read_u64, base, nip)
        if not code.ok or not (code.leaf or 0) & PTE_EXEC:
            return _Judgement(False, f"does not translate NIP {nip:#x} of vCPU {context.cpu} to code")
        asked.append(context.cpu)
    what = "the linear map" + (f" and NIP of vCPU {', '.join(map(str, asked))}" if asked else "")
    return _Judgement(True, f"confirmed by walking {what}")
