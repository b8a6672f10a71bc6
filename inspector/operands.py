"""What a user may write for an address or a value: numbers, ``$registers`` and symbols, put together as in C.

    number     0xc000_0000, 0b101, 0o17, 64, each with K, M, G or T behind it for powers of 1024
    register   $nip, $r3           value on the chosen vCPU
    symbol     swapper_pg_dir      its address in the kernel image
    operators  - ~ (one operand), then * | + - | << >> | & | ^ | "|", from the tightest to the loosest, and ( )

A result is an unsigned value of 64 bits. A negative one, which only ``-`` and ``~`` can give, is taken modulo 2**64,
so that ``-8``, ``~0xfff`` and ``$r1-8`` mean what they do in C; what grows over 64 bits is refused rather than cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NoReturn, Protocol

from inspector.errors import ExpressionError, UnknownRegister, UnknownSymbol

LONGEST: Final = 1024
"""Characters of an operand."""
DEEPEST: Final = 64
"""Parentheses and signs inside each other."""
MODULUS: Final = 1 << 64


class Resolver(Protocol):
    """Where the values of names come from."""

    def register(self, name: str) -> int:
        """The value of ``$name`` (given without the ``$``). Raises UnknownRegister."""

    def symbol(self, name: str) -> int:
        """The address of ``name``. Raises UnknownSymbol."""


class _NumbersOnly:
    """Where names mean nothing."""

    def register(self, name: str) -> int:
        raise UnknownRegister(name, 0, False)

    def symbol(self, name: str) -> int:
        raise UnknownSymbol(name, None)


NUMBERS_ONLY: Final[Resolver] = _NumbersOnly()
"""For operands that no target stands behind: they hold numbers alone."""


def evaluate(text: str, lookup: Resolver = NUMBERS_ONLY) -> int:
    """The value of an operand, 0 to 2**64-1.

    Raises ExpressionError, with the position in ``text``, for what does not parse or does not fit, and what ``lookup``
    raises."""
    return _Parser(text, 0, len(text), lookup).whole()


def parse_range(text: str, lookup: Resolver = NUMBERS_ONLY) -> tuple[int, int]:
    """``ADDR:LEN``, two operands, as (address, bytes).

    Raises ExpressionError as :func:`evaluate` does, for a length of 0, and for a range that runs over 2**64."""
    colon = text.find(":")
    if colon < 0:
        _fail(text, len(text), "a length is missing; write ADDR:LEN, as in 0x2740000:64K")
    address = _Parser(text, 0, colon, lookup).whole()
    length = _Parser(text, colon + 1, len(text), lookup).whole()
    if length == 0:
        _fail(text, colon + 1, "the length is 0; give the number of bytes")
    if address + length > MODULUS:
        _fail(text, colon + 1, f"{address:#x} and {length:#x} bytes run over the end of 64 bits; give a smaller length")
    return address, length


def _fail(text: str, position: int, problem: str) -> NoReturn:
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    raise ExpressionError(shown, position, problem)


_TOKEN = re.compile(
    r"\s*(?:"
    r"(?P<number>[0-9]\w*)|(?P<register>\$\w*)|(?P<symbol>[A-Za-z_.][\w.$@]*)|(?P<operator><<|>>|[-~+*&^|()])"
    r")",
    re.ASCII,
)
_NUMBER = re.compile(
    r"(?:0[xX](?P<hex>[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*)"
    r"|0[bB](?P<binary>[01]+(?:_[01]+)*)"
    r"|0[oO](?P<octal>[0-7]+(?:_[0-7]+)*)"
    r"|(?P<decimal>[0-9]+(?:_[0-9]+)*))"
    r"(?P<suffix>[kKmMgGtT]?)"
)
_BASES = MappingProxyType({"hex": 16, "binary": 2, "octal": 8, "decimal": 10})
_SUFFIXES = MappingProxyType({"": 0, "k": 10, "m": 20, "g": 30, "t": 40})
_BARE_HEX = re.compile(r"[0-9a-fA-F]{6,}")

_PRECEDENCE: Mapping[str, int] = MappingProxyType({"*": 6, "+": 5, "-": 5, "<<": 4, ">>": 4, "&": 3, "^": 2, "|": 1})
_APPLY: Mapping[str, Callable[[int, int], int]] = MappingProxyType(
    {
        "*": lambda a, b: a * b,
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b if a - b >= -MODULUS else (a - b) % MODULUS - MODULUS,
        "<<": lambda a, b: a << b,
        ">>": lambda a, b: a % MODULUS >> b,
        "&": lambda a, b: a & b,
        "^": lambda a, b: a ^ b,
        "|": lambda a, b: a | b,
    }
)


class _Parser:
    """One operand, from ``start`` to ``end`` of ``text``, by precedence climbing.

    Values are whole numbers from -2**64 up to 2**64-1 until the end: so ``$r1 + -8`` needs no wrapping in between."""

    def __init__(self, text: str, start: int, end: int, lookup: Resolver) -> None:
        self.text, self.at, self.end, self.lookup = text, start, end, lookup
        self.before = ""
        if len(text) > LONGEST:
            _fail(text, LONGEST, f"it has {len(text)} characters; {LONGEST} at most are read")
        self.kind, self.token, self.start = "", "", start
        self.advance()

    def advance(self) -> None:
        """Read the next token; ``kind`` is "" at the end."""
        self.before = self.token
        found = _TOKEN.match(self.text, self.at, self.end)
        if found is None:
            rest = self.text[self.at : self.end]
            self.start = self.at + len(rest) - len(rest.lstrip())
            if rest.strip():
                self.fail(f"{rest.strip()[0]!r} means nothing here; operators are - ~ * + << >> & ^ | and ( )")
            self.kind, self.token, self.start = "", "", self.end
            return
        self.kind = found.lastgroup or ""
        self.token, self.start, self.at = found[self.kind], found.start(self.kind), found.end()

    def fail(self, problem: str) -> NoReturn:
        _fail(self.text, self.start, problem)

    def whole(self) -> int:
        """The value of it all."""
        if not self.kind:
            self.fail("there is nothing to read; give an address, as in 0xc000000000000000")
        value = self.operation(0, 0)
        if self.kind:
            self.fail(f"{self.token!r} was not expected; put an operator before it")
        return value % MODULUS

    def operation(self, weakest: int, depth: int) -> int:
        """Operands joined by operators that bind tighter than ``weakest``."""
        value = self.operand(depth)
        while self.kind == "operator" and _PRECEDENCE.get(self.token, 0) > weakest:
            operator, position = self.token, self.start
            self.advance()
            right_at = self.start
            right = self.operation(_PRECEDENCE[operator], depth)
            if operator in ("<<", ">>") and not 0 <= right < 64:
                _fail(self.text, right_at, f"a shift by {right} is not one of 0 to 63")
            value = self.fitting(_APPLY[operator](value, right), position)
        return value

    def operand(self, depth: int) -> int:
        """A number, register, symbol or parenthesis, with its signs."""
        if depth > DEEPEST:
            self.fail(f"parentheses and signs are more than {DEEPEST} deep; simplify it")
        kind, token, position = self.kind, self.token, self.start
        if not kind:
            after = f" after {self.before!r}" if self.before else ""
            self.fail(f"it ends early: a number, $register or symbol is missing{after}")
        self.advance()
        if kind == "number":
            return self.number(token, position)
        if kind == "register":
            if token == "$":
                _fail(self.text, position, "a register's name is missing after '$', as in $nip")
            return self.lookup.register(token[1:])
        if kind == "symbol":
            return self.symbol(token, position)
        if token == "(":
            value = self.operation(0, depth + 1)
            if self.token != ")":
                before = f" before {self.token!r}" if self.kind else ": it ends early"
                self.fail(f"a ')' is missing{before}")
            self.advance()
            return value
        if token == "-":
            return -self.operand(depth + 1)
        if token == "~":
            return self.fitting(~self.operand(depth + 1), position)
        _fail(self.text, position, f"a number, $register or symbol was expected, not {token!r}")

    def number(self, token: str, position: int) -> int:
        found = _NUMBER.fullmatch(token)
        if found is None:
            hint = f"; write 0x{token} if it is hexadecimal" if _BARE_HEX.fullmatch(token) else ""
            _fail(self.text, position, f"{token!r} is not a number{hint or '; write it as 0x…, 0b…, 0o… or decimal'}")
        name = next(group for group in _BASES if found[group] is not None)
        digits: str = found[name]
        if name == "decimal" and digits[0] == "0" and digits.strip("0_"):
            _fail(self.text, position, f"{token!r} could be octal or decimal; write 0o… or drop the leading zeros")
        return self.fitting(int(digits, _BASES[name]) << _SUFFIXES[found["suffix"].lower()], position)

    def symbol(self, name: str, position: int) -> int:
        try:
            return self.lookup.symbol(name)
        except UnknownSymbol:
            if _BARE_HEX.fullmatch(name):
                _fail(self.text, position, f"{name!r} is no symbol; write 0x{name} if it is a number")
            raise

    def fitting(self, value: int, position: int) -> int:
        """``value``, if it fits. Raises ExpressionError."""
        if not -MODULUS <= value < MODULUS:
            size = abs(value).bit_length()
            shown = f"{value:#x}" if size <= 128 else "a part of it"
            _fail(self.text, position, f"{shown} has {size} bits, and an address has 64; give a smaller value")
        return value if value != -MODULUS else 0
