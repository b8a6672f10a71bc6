"""An instruction from its word: its text by capstone where that is installed, and what it does to memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from inspector.instructions.operations import (
    BY_LOW_BITS,
    Count,
    Form,
    Kind,
    Operation,
    by_extended,
    by_primary,
    prefixed,
)

WORD = 4
MASK64 = (1 << 64) - 1
PREFIX = 1
"""Primary opcode of a prefix: 8 bytes are the instruction (Power ISA 3.1, book I, 1.6)."""

EXTENDED = 31
"""The primary opcode of most that have an extended one, in bits 21:30."""
TRAP_IMMEDIATE, TRAP = (2, 3), (4, 68)
"""``tdi`` and ``twi`` by their primary opcode, ``tw`` and ``td`` by their extended one."""
BRANCHES_TO = {16: "lr", 528: "ctr", 560: "tar"}
"""``bclr``, ``bcctr`` and ``bctar`` by their extended opcode, and what they go to."""
RETURNS = {18: "srr0", 50: "srr0", 82: "lr", 274: "hsrr0"}
"""``rfid``, ``rfi``, ``rfscv`` and ``hrfid`` the same way."""
RESERVED = 0x00EC_0000
"""Bits 8:10 and 12:13 of a prefix; 6:7 are its type and 11 is R."""
BOUNDARY = 64
"""Bytes: a prefixed instruction that would cross such a line is not valid."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """The instruction at ``address`` (an EA). ``word`` is its value, whatever order its bytes have in memory; of a
    prefixed one the prefix, and ``suffix`` the rest. ``text`` is as an assembler has it, ``.long`` where it has none.

    ``operation`` is its access of memory, ``target`` where a branch leads: an address, the name of the register that
    holds it, or None."""

    address: int
    word: int
    suffix: int | None
    text: str
    kind: Kind
    operation: Operation | None = None
    target: int | str | None = None

    @property
    def size(self) -> int:
        """Its bytes: 4 or 8."""
        return WORD if self.suffix is None else 2 * WORD

    @property
    def fields(self) -> int:
        """The word that its registers are fields of."""
        return self.word if self.suffix is None else self.suffix

    @property
    def rt(self) -> int:
        """Bits 6:10, the first register."""
        return self.fields >> 21 & 31

    @property
    def ra(self) -> int:
        """Bits 11:15."""
        return self.fields >> 16 & 31

    @property
    def rb(self) -> int:
        """Bits 16:20."""
        return self.fields >> 11 & 31

    @property
    def displacement(self) -> int | None:
        """Of the forms that have one, in bytes and with its sign."""
        match self.operation.form if self.operation else None:
            case Form.D:
                return signed(self.word, 16)
            case Form.DS:
                return signed(self.word & 0xFFFC, 16)
            case Form.DQ:
                return signed(self.word & 0xFFF0, 16)
            case Form.PREFIXED:
                return signed((self.word & 0x3FFFF) << 16 | self.fields & 0xFFFF, 34)
        return None

    @property
    def relative(self) -> bool:
        """Whether the displacement counts from the instruction itself (bit R of a prefix)."""
        return self.suffix is not None and bool(self.word >> 20 & 1)


def signed(value: int, bits: int) -> int:
    """The low ``bits`` of ``value`` as a two's complement number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def is_prefix(word: int) -> bool:
    """Whether this word is the first half of a prefixed instruction."""
    return word >> 26 == PREFIX


def decode(address: int, word: int, suffix: int | None = None) -> Instruction:
    """The instruction of this value at EA ``address``; ``suffix`` is the word after a prefix.

    Whatever is no instruction here is one of :attr:`Kind.UNKNOWN`: none is refused."""
    if is_prefix(word):
        return _decode_prefixed(address, word, suffix)
    operation = operation_of(word)
    kind, target = (operation.kind, None) if operation else _kind(address, word)
    text = disassembled(address, word) or (_text(address, word, None, operation) if operation else None)
    if text is None:
        text = f".long 0x{word:08x}"
        if kind is Kind.OTHER:
            kind = Kind.UNKNOWN
    return Instruction(address, word, None, text, kind, operation, target)


def _decode_prefixed(address: int, word: int, suffix: int | None) -> Instruction:
    crosses = address % BOUNDARY == BOUNDARY - WORD
    if suffix is None or crosses:
        return Instruction(address, word, suffix, f".long 0x{word:08x}", Kind.UNKNOWN)
    operation = None
    if not word & RESERVED:
        operation = prefixed().get((word >> 24 & 3, suffix >> 26))
    if operation is None:
        text, kind = f".long 0x{word:08x}, 0x{suffix:08x}", Kind.UNKNOWN
    else:
        text, kind = _text(address, word, suffix, operation), operation.kind
    return Instruction(address, word, suffix, text, kind, operation)


def operation_of(word: int) -> Operation | None:
    """The access of memory that an instruction of 4 bytes makes, None where it makes none that is known."""
    primary = word >> 26
    if primary in by_primary():
        return by_primary()[primary]
    if primary == EXTENDED:
        found = by_extended().get(word >> 1 & 0x3FF)
        return found if found is None or _stands(found, word) else None
    for (opcode, mask, value), found in BY_LOW_BITS.items():
        if primary == opcode and word & mask == value:
            return found
    return None


def _stands(operation: Operation, word: int) -> bool:
    """Whether bit 31 is as this instruction wants it: part of the register's number in VSX, Rc of what sets CR0, and a
    hint of those with a reservation."""
    if operation.registers == "vs":
        return True
    if operation.name.endswith("."):
        return bool(word & 1)
    return not word & 1 or operation.name in ("lbarx", "lharx", "lwarx", "ldarx", "lqarx")


def _kind(address: int, word: int) -> tuple[Kind, int | str | None]:
    """What an instruction is that accesses no memory, and where it leads."""
    primary, extended = word >> 26, word >> 1 & 0x3FF
    from_here = 0 if word & 2 else address
    match primary:  # sc and scv; b; bc; and the rest of the branches
        case 17:
            return (Kind.SYSTEM_CALL if word & 3 in (1, 2) else Kind.OTHER), None
        case 18:
            return Kind.BRANCH, (from_here + signed(word & 0x3FF_FFFC, 26)) & MASK64
        case 16:
            return Kind.BRANCH, (from_here + signed(word & 0xFFFC, 16)) & MASK64
        case 19 if extended in BRANCHES_TO:
            return Kind.BRANCH, BRANCHES_TO[extended]
        case 19 if extended in RETURNS:
            return Kind.RETURN, RETURNS[extended]
    if primary in TRAP_IMMEDIATE or (primary == EXTENDED and extended in TRAP):
        return Kind.TRAP, None
    return Kind.OTHER, None


@cache
def _capstone() -> Any:
    """Capstone's disassembler, None where it is not installed."""
    try:
        from capstone import CS_ARCH_PPC, CS_MODE_64, CS_MODE_BIG_ENDIAN, Cs
    except ImportError:
        return None
    return Cs(CS_ARCH_PPC, CS_MODE_64 | CS_MODE_BIG_ENDIAN)


def can_disassemble() -> bool:
    """Whether capstone is there, and texts are more than those of accesses."""
    return _capstone() is not None


def disassembled(address: int, word: int) -> str | None:
    """Capstone's text of an instruction of 4 bytes; None where it has none, or is not installed."""
    tool = _capstone()
    if tool is None:
        return None
    for _, _, mnemonic, operands in tool.disasm_lite(word.to_bytes(WORD, "big"), address, 1):
        return f"{mnemonic} {operands}".strip()
    return None


def _text(address: int, word: int, suffix: int | None, operation: Operation) -> str:
    """The text of an access, for what capstone has none of."""
    plain = Instruction(address, word, suffix, "", operation.kind, operation)
    first = plain.rt
    if operation.registers == "vs":
        first = _vsx(plain)
    operands = [f"{operation.registers}{first}"] if operation.registers else []
    base = f"r{plain.ra}" if plain.ra else "0"
    displacement = plain.displacement
    if displacement is not None:
        operands.append(f"{displacement}({'pc' if plain.relative else base})")
    else:
        operands.append(base)
        if operation.size is Count.IMMEDIATE:
            operands.append(str(plain.rb or 32))
        elif operation.form is Form.X or operation.size is Count.LENGTH:
            operands.append(f"r{plain.rb}")
        else:
            operands.append(str(plain.rb))
    return f"{operation.name} {', '.join(operands)}"


def _vsx(plain: Instruction) -> int:
    """Number of the VSX register, of which one bit lies elsewhere."""
    name, word = plain.operation.name if plain.operation else "", plain.fields
    if name.removeprefix("p").startswith(("lxvp", "stxvp")):
        return (word >> 21 & 1) << 5 | (word >> 22 & 15) << 1
    if plain.suffix is not None:
        return (word >> 26 & 1) << 5 | plain.rt
    if plain.displacement is not None:
        return (word >> 3 & 1) << 5 | plain.rt
    return (word & 1) << 5 | plain.rt
