"""A small language for what a mapping's entry allows and says: ``w&x``, ``!r``, ``rw``, ``u(w|x)!C``.

Letters are questions about a leaf: ``r`` ``w`` ``x`` may it be read, written, executed (by whom it is for: write
implies read and guarded I/O is never executed, as the hardware has it); ``p`` is it privileged, ``u`` is it the user's;
``R`` and ``C`` are the reference and change bits. ``!`` is not, ``|`` or; ``&`` and, which may be left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inspector.errors import ExpressionError
from inspector.radix.bits import (
    ATT_NON_IDEMPOTENT,
    PTE_ATT,
    PTE_C,
    PTE_EXEC,
    PTE_PRIVILEGED,
    PTE_R,
    PTE_READ,
    PTE_WRITE,
)
from inspector.radix.columns import U64, Bools

Question = Callable[[U64], Bools]
"""Flags (or whole entries) in, an answer for each out."""
DEPTH = 32
"""Brackets and negations that may stand within each other."""


def any_of(mask: int) -> Question:
    """Whether any of these bits is set."""
    return lambda flags: flags & np.uint64(mask) != 0


def _execute(flags: U64) -> Bools:
    guarded = flags & np.uint64(PTE_ATT) == np.uint64(ATT_NON_IDEMPOTENT)
    allowed: Bools = (flags & np.uint64(PTE_EXEC) != 0) & ~guarded
    return allowed


LETTERS: dict[str, Question] = {
    "r": any_of(PTE_READ | PTE_WRITE),
    "w": any_of(PTE_WRITE),
    "x": _execute,
    "p": any_of(PTE_PRIVILEGED),
    "u": lambda flags: flags & np.uint64(PTE_PRIVILEGED) == 0,
    "R": any_of(PTE_R),
    "C": any_of(PTE_C),
}


def parse(text: str) -> Question:
    """The question that ``text`` asks. Raises ExpressionError."""
    parser = _Parser(text)
    question = parser.alternatives()
    if parser.next:
        raise parser.wrong(f"{parser.next!r} closes nothing" if parser.next == ")" else f"{parser.next!r} is not known")
    return question


class _Parser:
    """One text on its way."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    @property
    def next(self) -> str:
        """What comes next; blanks are passed over, and the end is empty."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def wrong(self, problem: str) -> ExpressionError:
        return ExpressionError(self.text, self.at, f"{problem}; write rights as in w&x, !r, rw or u(w|x)")

    def alternatives(self) -> Question:
        found = self.all_of()
        while self.next == "|":
            self.at += 1
            found = _either(found, self.all_of())
        return found

    def all_of(self) -> Question:
        found = self.one()
        while self.next and self.next not in "|)":
            if self.next == "&":
                self.at += 1
            found = _both(found, self.one())
        return found

    def one(self) -> Question:
        letter = self.next
        if letter in LETTERS:
            self.at += 1
            return LETTERS[letter]
        if letter not in ("!", "("):
            raise self.wrong(f"{letter!r} is not known" if letter and letter not in "&|)" else "something is missing")
        self.depth += 1
        if self.depth > DEPTH:
            raise self.wrong("it is nested too deep")
        self.at += 1
        if letter == "!":
            found = _not(self.one())
        else:
            found = self.alternatives()
            if self.next != ")":
                raise self.wrong("')' is missing")
            self.at += 1
        self.depth -= 1
        return found


def _either(one: Question, other: Question) -> Question:
    return lambda flags: one(flags) | other(flags)


def _both(one: Question, other: Question) -> Question:
    return lambda flags: one(flags) & other(flags)


def _not(one: Question) -> Question:
    return lambda flags: ~one(flags)
