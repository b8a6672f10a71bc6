"""``dsisr``: a DSISR or HDSISR bit by bit, and what KVM's fault handler makes of it."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from inspector.commands.lifecycle import as_argument
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.errors import ExpressionError, UnknownSymbol, UsageError
from inspector.kvm.dsisr import Handling, handling, named
from inspector.kvm.history import DEFAULT
from inspector.radix.fields import Decoded
from inspector.radix.registers import HDSISR

BITS_OF_DSISR = 32
NAMES = f"bits joined by |: {', '.join(field.name.lower() for field in HDSISR.fields)}"
_WORD = re.compile(r"(?<![\w$.])[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Dsisr(Answered):
    """One value taken apart, and how KVM of this version handles it."""

    topic: ClassVar[str] = "dsisr"
    decoded: Decoded
    handling: Handling
    version: str


def dsisr_value(session: Session, text: str) -> int:
    """The value of an operand in which bits may be named, as in ``nopte|store``. Raises UsageError, of a value that
    does not fit into the register too."""

    def bit(word: re.Match[str]) -> str:
        found = named(word[0])
        return word[0] if found is None else f"{found:#x}"

    try:
        value = session.value(_WORD.sub(bit, text))
    except UnknownSymbol as error:
        raise UsageError(f"{error.name!r} is no bit of DSISR; write a number, or {NAMES}") from None
    except ExpressionError:
        raise UsageError(f"cannot read {text!r} as a DSISR; write a number, or {NAMES}") from None
    if value >> BITS_OF_DSISR:
        raise UsageError(f"{value:#x} has {value.bit_length()} bits, and DSISR has {BITS_OF_DSISR}; give a smaller one")
    return value


def _dsisr(session: Session, arguments: Namespace) -> Iterator[Dsisr]:
    def taken_apart(text: str) -> Dsisr:
        value = dsisr_value(session, text)
        return Dsisr(HDSISR.decode(value), handling(value, arguments.version), arguments.version)

    yield from session.each_text(arguments.value, taken_apart)


def _dsisr_arguments(parser: Parser) -> None:
    parser.add_argument(
        "value", nargs="+", metavar="VALUE", help="a number, $hdsisr, or bits by name joined by |; - for standard input"
    )
    as_argument(parser, DEFAULT)


COMMANDS = (
    Command(
        "dsisr",
        "a DSISR bit by bit, and what KVM makes of it",
        _dsisr,
        _dsisr_arguments,
        (
            Example("dsisr 0x42000000", "a store that found no translation"),
            Example("dsisr 'rc|store'", "bits by name: a store whose leaf lacks C"),
            Example("dsisr 'DSISR_PRTABLE_FAULT|DSISR_NOHPTE'", "names as Linux has them"),
        ),
        "Names are those that this shows in its second half, in small letters, or Linux's with or without DSISR_. "
        "'fault' runs the whole handler with such a value.",
    ),
)
