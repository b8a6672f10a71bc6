"""What an instruction reaches: its effective address and access, by the registers of its vCPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inspector.instructions.decode import MASK64, Instruction
from inspector.instructions.operations import Count, Form, Way
from inspector.radix.bits import MSR_SF

Known = Callable[[str], int | None]
"""The value of a register by its name (``r4``, ``xer``, ``msr``), None where it is not known."""


@dataclass(frozen=True, slots=True)
class Reach:
    """One access of memory: ``way`` is "r" or "w" (what rights it needs), ``size`` its bytes and ``ea`` where; None
    where that cannot be told, and ``why`` says why not. ``sum`` is how the address comes about ("r4 + 0x10").

    ``hint`` never faults; ``real`` means that ``ea`` is a real address, whatever MSR[DR] says."""

    way: Way
    size: int | None
    ea: int | None
    sum: str
    why: str = ""
    hint: bool = False
    real: bool = False

    @property
    def last(self) -> int | None:
        """EA of its last byte; None where it has none that is known."""
        return None if self.ea is None or not self.size else (self.ea + self.size - 1) & MASK64


def reach(instruction: Instruction, known: Known) -> Reach | None:
    """What this instruction would access were it run with these registers; None where it accesses nothing, or (its kind
    is then ``UNKNOWN``) where nobody knows.

    In 32-bit mode addresses have 32 bits; where MSR is not known and it matters, ``why`` says what was assumed."""
    operation = instruction.operation
    if operation is None:
        return None
    terms, text = _terms(instruction)
    size, problem = _size(instruction, known)
    problems = [problem] if problem else []
    ea: int | None = 0
    for term in terms:
        value = known(term) if isinstance(term, str) else term
        if value is None:
            problems.append(f"{term} is not known")
            ea = None
        elif ea is not None:
            ea = (ea + value) & MASK64
    if invalid := _invalid(instruction):
        problems, ea = [invalid], None
    if ea is not None:
        msr = known("msr")
        if msr is None and ea >> 32:
            problems.append("msr is not known, and 64-bit mode assumed")
        elif msr is not None and not msr & MSR_SF:
            ea &= 0xFFFF_FFFF
        ea &= ~(operation.align - 1)
    return Reach(operation.way, size, ea, text, "; ".join(problems), operation.hint, operation.real)


def _invalid(instruction: Instruction) -> str:
    """Why its form is invalid, "" where it is not (Power ISA 3.1, book I, chapters 3 and 4: an update form wants an
    RA that is not 0, and of a fixed-point load not RT; a prefix with R set wants an RA of 0)."""
    operation = instruction.operation
    assert operation is not None
    if operation.update and instruction.ra == 0:
        return "its form is invalid: it would write the address back into no register"
    fixed_load = operation.way == "r" and operation.registers == "r"
    if operation.update and fixed_load and instruction.ra == instruction.rt:
        return "its form is invalid: it would write the address back into what it loads"
    if instruction.relative and instruction.ra:
        return "its form is invalid: it counts from itself and from a register at once"
    return ""


def _terms(instruction: Instruction) -> tuple[list[str | int], str]:
    """What the address is the sum of, and that in words."""
    operation = instruction.operation
    assert operation is not None
    terms: list[str | int] = []
    words = []
    if instruction.relative:
        terms.append(instruction.address)
        words.append("its own address")
    elif instruction.ra:
        terms.append(f"r{instruction.ra}")
        words.append(f"r{instruction.ra}")
    displacement = instruction.displacement
    if displacement is not None:
        terms.append(displacement)
        if words:
            words.append(f"{'-' if displacement < 0 else '+'} {abs(displacement):#x}")
        else:
            words.append(f"{displacement & MASK64:#x}")
    elif operation.form is Form.X:
        terms.append(f"r{instruction.rb}")
        words.append(f"+ r{instruction.rb}" if words else f"r{instruction.rb}")
    return terms, " ".join(words) or "0"


def _size(instruction: Instruction, known: Known) -> tuple[int | None, str]:
    """Bytes, or None and why."""
    operation = instruction.operation
    assert operation is not None
    match operation.size:
        case int(size):
            return size, ""
        case Count.MULTIPLE:
            return 4 * (32 - instruction.rt), ""
        case Count.IMMEDIATE:
            return instruction.rb or 32, ""
        case Count.XER:
            name, shift, most = "xer", 0, 0x7F
        case Count.LENGTH:
            name, shift, most = f"r{instruction.rb}", 56, 16
    value = known(name)
    if value is None:
        return None, f"its size is in {name}, which is not known"
    if operation.size is Count.XER:
        return value & most, ""
    return min(value >> shift, most), ""
