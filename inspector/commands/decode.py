"""``decode`` and ``rmmu``: what a raw value says bit by bit, and which tree shapes KVM takes."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.errors import InspectorError, UsageError
from inspector.radix import bits
from inspector.radix.fields import Decoded, Format
from inspector.radix.formats import FORMATS, PDE, PTE, decode_entry, format_named
from inspector.radix.geometry import PSIZE_DEFS, PSIZE_DEFS_WITHOUT_PROPERTY, RmmuInfo, rmmu_info
from inspector.radix.registers import register_format
from inspector.targets.base import REGISTERS, canonical

FURTHER = ("ea",)
"""What has a register's kind of format but is no register."""


@dataclass(frozen=True, slots=True)
class DecodedValue(Answered):
    """A value taken apart. ``kind`` is the format's name; ``guessed`` says that nobody said it; ``others`` are kinds
    that it could be as well."""

    topic: ClassVar[str] = "decode"
    kind: str
    decoded: Decoded
    guessed: bool = False
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kinds(Answered):
    """What a value may be decoded as: (name, title, where the table is from)."""

    topic: ClassVar[str] = "decode"
    entries: tuple[tuple[str, str, str], ...]
    registers: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Rmmu(Answered):
    """What ``KVM_PPC_GET_RMMU_INFO`` returns; ``property_there`` says whether the host's device tree has
    ``ibm,processor-radix-AP-encodings``."""

    topic: ClassVar[str] = "decode"
    info: RmmuInfo
    property_there: bool


def kind_named(word: str) -> Format | None:
    """The format that ``word`` names: an entry's or a register's. None for an operand, ``$msr`` too."""
    if word.startswith("$"):
        return None
    return format_named(word) or register_format(canonical(word)) or register_format(word)


def kinds() -> Kinds:
    """Every kind there is."""
    entries = tuple((name, form.title, form.source) for name, form in FORMATS.items())
    registers = []
    for name in (*REGISTERS, *FURTHER):
        form = register_format(name)
        if form is not None and name not in FORMATS:
            registers.append((name, form.title, form.source))
    return Kinds(entries, tuple(registers))


def guess(value: int, level: int | None = None) -> DecodedValue:
    """``value`` as the entry that it looks like: a radix entry by V and L, unless it has the shape of a root."""
    rooted = bits.tree_bits(value) == bits.TREE_BITS and value & bits.RPDS_MASK == bits.LEVEL_BITS[3][0]
    if level is None and rooted and not value & bits.PTE_VALID:
        return DecodedValue("prte0", FORMATS["prte0"].decode(value), True)
    decoded = decode_entry(value, level)
    others = ("pate0",) if level is None and rooted else ()
    return DecodedValue(decoded.format.name.lower(), decoded, True, others)


def _as_kind(kind: str, form: Format, value: int, level: int | None) -> DecodedValue:
    if level is not None and form in (PDE, PTE):
        decoded = decode_entry(value, level)
        if decoded.format is not form:
            raise UsageError(f"{value:#x} is no {form.title} ({decoded.meaning}); leave {kind} out to have it guessed")
        return DecodedValue(form.name.lower(), decoded)
    return DecodedValue(form.name.lower(), form.decode(value))


def _decode(session: Session, arguments: Namespace) -> Iterator[DecodedValue | Kinds]:
    words = list(arguments.words)
    if arguments.list:
        yield kinds()
        return
    if not words:
        raise UsageError("decode wants a value, as in: decode pte 0xc00000000000018d; 'decode --list' lists the kinds")
    form = kind_named(words[0])
    kind = words.pop(0) if form is not None else ""
    if not words:
        raise UsageError(f"decode {kind} wants a value after it, as in: decode {kind} 0x… (or ${kind} for the vCPU's)")
    try:
        for value in session.values(words):
            if form is None:
                yield guess(value, arguments.level)
            else:
                yield _as_kind(kind, form, value, arguments.level)
    except InspectorError as error:
        if form is None and words[0] != "-":
            raise _not_a_kind(words[0], error) from None
        raise


def _not_a_kind(word: str, error: InspectorError) -> InspectorError:
    """A word that is neither kind nor value may be a kind with a slip in it."""
    if not word[:1].isalpha() or not isinstance(error, UsageError):
        return error
    known = [name for name, _, _ in (*kinds().entries, *kinds().registers)]
    from difflib import get_close_matches

    near = get_close_matches(word.lower(), known, n=2)
    if not near:
        return error
    return UsageError(f"{word!r} is neither a kind nor a value; did you mean {' or '.join(near)}?")


def _decode_arguments(parser: Parser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="VALUE", help="after its kind, if that is to be named; - for standard input"
    )
    parser.add_argument("--level", type=int, choices=(0, 1, 2, 3), help="of a radix entry: 3 is the root")
    parser.add_argument("--list", action="store_true", help="the kinds there are")


def _rmmu(_session: Session, arguments: Namespace) -> Iterator[Rmmu]:
    there = not arguments.without_property
    yield Rmmu(rmmu_info(PSIZE_DEFS if there else PSIZE_DEFS_WITHOUT_PROPERTY), there)


def _rmmu_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--without-property",
        action="store_true",
        help="on a host whose device tree lacks ibm,processor-radix-AP-encodings, as QEMU's powernv",
    )


COMMANDS = (
    Command(
        "decode",
        "a raw entry or a register's value, bit by bit",
        _decode,
        _decode_arguments,
        (
            Example("decode 0xc00000000000018d", "a radix entry; its kind is guessed from V and L"),
            Example("decode prte0 0x40000000027400ad", "a process-table entry"),
            Example("decode dsisr 0x42000000", "why a store did not go"),
            Example("decode pte 0xc000000003a0018e --level 1", "with what its level adds"),
            Example("decode --list", "the kinds there are"),
        ),
        "Bits that no field claims are told as unknown. Without KIND, a value is taken for a page-table entry.",
    ),
    Command(
        "rmmu",
        "the tree shapes and page-size encodings that KVM reports",
        _rmmu,
        _rmmu_arguments,
        (
            Example("rmmu", "as KVM_PPC_GET_RMMU_INFO returns them"),
            Example("rmmu --without-property", "on a host that was told no AP encodings"),
        ),
    ),
)
