"""Words of bits as tables of fields: what an entry or a register says, and what is left over.

A :class:`Format` names every bit that the architecture gives a meaning. Bits that no field of it claims are *residue*:
reserved bits that are set anyway, which is where surprises hide. Bits are counted from the least significant, as Linux
and QEMU do; :meth:`Field.ibm` gives the same bits as Power ISA counts them, from the other end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from inspector.errors import UsageError

_NO_VALUES: Mapping[int, str] = MappingProxyType({})


def _no_values() -> Mapping[int, str]:
    return _NO_VALUES


@dataclass(frozen=True, slots=True)
class Field:
    """``width`` bits from bit ``low`` up.

    ``meaning`` says what the field is; ``values`` what each of its values means; ``show`` gives the words for a value
    that ``values`` does not hold (else it is a number). ``isa`` is the section of Power ISA 3.0B book III that defines
    it, empty where another source does. ``linux`` is what Linux uses the field for, where the architecture leaves it to
    software.
    """

    name: str
    low: int
    width: int
    meaning: str
    isa: str = ""
    values: Mapping[int, str] = field(default_factory=_no_values, hash=False)
    linux: str = ""
    show: Callable[[int], str] | None = field(default=None, compare=False)

    @property
    def high(self) -> int:
        """The topmost bit, Linux numbering."""
        return self.low + self.width - 1

    @property
    def mask(self) -> int:
        """The field's bits, in place."""
        return ((1 << self.width) - 1) << self.low

    @property
    def bits(self) -> str:
        """The bits as Linux counts them: "63" or "55:12"."""
        return str(self.low) if self.width == 1 else f"{self.high}:{self.low}"

    def ibm(self, width: int = 64) -> str:
        """The bits as Power ISA counts them in a word of ``width`` bits: "0" or "8:51"."""
        first, last = width - 1 - self.high, width - 1 - self.low
        return str(first) if first == last else f"{first}:{last}"

    def get(self, value: int) -> int:
        """The field's own value, moved down to bit 0."""
        return (value & self.mask) >> self.low

    def text(self, raw: int) -> str:
        """What the field's own value ``raw`` says, in words or as a number."""
        said = self.values.get(raw)
        if said is not None:
            return said
        if self.show is not None:
            return self.show(raw)
        if self.width == 1:
            return "set" if raw else "clear"
        return number_text(raw)


@dataclass(frozen=True, slots=True)
class DecodedField:
    """One field of a decoded word: its value moved down to bit 0, and what that says."""

    field: Field
    raw: int
    text: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A word taken apart. Every set bit is in ``fields`` or in ``residue``.

    ``meaning`` says in the architecture's words what the whole means; ``linux`` what Linux makes of it besides, or is
    empty."""

    format: Format
    value: int
    fields: tuple[DecodedField, ...]
    residue: int
    meaning: str
    linux: str = ""

    def assemble(self) -> int:
        """The word put together again from its fields and its residue."""
        value = self.residue
        for part in self.fields:
            value |= part.raw << part.field.low
        return value

    def __getitem__(self, name: str) -> int:
        """The value of the field called ``name``. Raises KeyError."""
        for part in self.fields:
            if part.field.name == name:
                return part.raw
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of word: ``width`` bits of fields, from the highest down.

    ``summary`` gives the sentence that says what a value means; ``linux`` what Linux makes of it, or an empty string.
    ``source`` is where the table comes from. Raises ValueError where fields overlap, repeat a name or stick out.
    """

    name: str
    title: str
    width: int
    fields: tuple[Field, ...]
    summary: Callable[[int], str] | None = None
    linux: Callable[[int], str] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        seen = 0
        names: set[str] = set()
        for one in self.fields:
            if one.low < 0 or one.width < 1 or one.high >= self.width:
                raise ValueError(f"{self.name}.{one.name}: bits {one.bits} are not in {self.width} bits")
            if seen & one.mask or one.name in names:
                raise ValueError(f"{self.name}.{one.name}: bits {one.bits} or the name are taken already")
            seen |= one.mask
            names.add(one.name)

    @property
    def mask(self) -> int:
        """Every bit that a field claims; the others are reserved."""
        mask = 0
        for one in self.fields:
            mask |= one.mask
        return mask

    def field(self, name: str) -> Field:
        """The field called ``name``. Raises KeyError."""
        for one in self.fields:
            if one.name == name:
                return one
        raise KeyError(name)

    def decode(self, value: int) -> Decoded:
        """``value`` taken apart. Raises UsageError for a value that does not fit."""
        if value < 0 or value >> self.width:
            raise UsageError(
                f"{value:#x} has {value.bit_length()} bits and {self.title} has {self.width}; give a value that fits"
                if value > 0
                else f"{value} is negative and {self.title} is not; give its bits, as in 0x8000000000000000"
            )
        parts = []
        for one in self.fields:
            raw = one.get(value)
            parts.append(DecodedField(one, raw, one.text(raw)))
        return Decoded(
            format=self,
            value=value,
            fields=tuple(parts),
            residue=value & ~self.mask,
            meaning=self.summary(value) if self.summary is not None else f"{value:#x}",
            linux=self.linux(value) if self.linux is not None else "",
        )


def flag(name: str, bit: int, meaning: str, isa: str = "", linux: str = "", on: str = "", off: str = "") -> Field:
    """A field of one bit; ``on`` and ``off`` are what 1 and 0 mean, where "set" and "clear" would not do."""
    values = {raw: text for raw, text in ((1, on), (0, off)) if text}
    return Field(name, bit, 1, meaning, isa, MappingProxyType(values), linux)


UNITS: tuple[tuple[int, str], ...] = ((60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"))
"""log2 of the binary units of bytes, the largest first."""


def in_largest_unit(size: int) -> tuple[int, str]:
    """A size in bytes in the largest binary unit that divides it, and that unit; "" for bytes."""
    for power, unit in UNITS:
        if size and size % (1 << power) == 0:
            return size >> power, unit
    return size, ""


def size_text(size: int) -> str:
    """A size in bytes in the largest binary unit that divides it, in words: "256 bytes", "64 KiB"."""
    count, unit = in_largest_unit(size)
    return f"{count} {unit or 'bytes'}"


def number_text(value: int) -> str:
    """A field's value as a number: hexadecimal from 10 on."""
    return str(value) if value < 10 else f"{value:#x}"


def entries_text(log2: int, entry_bytes: int) -> str:
    """A table of 2**``log2`` entries in words: "2^5 entries (256 bytes)"."""
    return f"2^{log2} entries ({size_text(entry_bytes << log2)})"


def misaligned_text(base: int, size: int) -> str:
    """What to add where a table of ``size`` bytes (a power of 2) is not aligned to its size, else nothing."""
    return f", but that base is not a multiple of {size_text(size)}" if base & (size - 1) else ""


def address_text(shift: int) -> Callable[[int], str]:
    """Shows a field that holds an address without its ``shift`` low bits as that address."""
    return lambda raw: f"{raw << shift:#x}"


def log2_text(shift: int = 0) -> Callable[[int], str]:
    """Shows a field that holds log2 of a size in bytes, less ``shift``, as that size."""
    return lambda raw: f"{raw} ({size_text(1 << (raw + shift))})"
