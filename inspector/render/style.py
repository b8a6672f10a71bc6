"""Colour by meaning: render code names what a piece of text is, and this decides how it looks.

Plain text where the output is not a terminal, ANSI colours where it is. No escape sequence of a guest's own gets
through: sentences pass :meth:`Style.wrap`, and other strings that come from a target :func:`safe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from inspector.radix.fields import UNITS, in_largest_unit

COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "address": "36",
        "value": "33",
        "good": "32",
        "bad": "31;1",
        "warn": "35",
        "dim": "2",
        "head": "1",
        "name": "34",
    }
)


@dataclass(frozen=True, slots=True)
class Style:
    """Whether to colour, and how wide the reader's lines are (columns)."""

    colour: bool = False
    width: int = 80

    def __call__(self, kind: str, text: str) -> str:
        """``text`` dressed as a ``kind`` of COLOURS."""
        return f"\x1b[{COLOURS[kind]}m{text}\x1b[0m" if self.colour and text else text

    def wrap(self, text: str, indent: str = "", *, kind: str = "") -> list[str]:
        """``text`` in lines no wider than the reader's, each after ``indent``, dressed as a ``kind`` if one is given.

        Whatever in it would steer a terminal is made visible."""
        import textwrap

        lines = textwrap.wrap(
            safe(" ".join(text.expandtabs().splitlines())),
            max(self.width, 40),
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,  # an option or a path is to be copied whole
        )
        return [self(kind, line) for line in lines] if kind else lines


PLAIN = Style()


def safe(text: str) -> str:
    """``text`` with its control characters, and what would turn its direction, made visible."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" if c < "\u0100" else f"\\u{ord(c):04x}" for c in text)


def counted(number: int, what: str) -> str:
    """So many of something: "1 run", "2 runs"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def compact_size(size: int) -> str:
    """Bytes in the largest binary unit that divides them: 64K, 2M, 1G."""
    count, unit = in_largest_unit(size)
    return f"{count}{unit.removesuffix('iB')}"


def short_size(size: int) -> str:
    """The same in six characters at most: to a tenth of a unit where it is not exact in so many."""
    exact = compact_size(size)
    if len(exact) <= 6:
        return exact
    shift, unit = next(each for each in UNITS if size >> each[0])
    return f"{size / (1 << shift):.1f}{unit.removesuffix('iB')}"


def vcpus(numbers: Sequence[int], room: int) -> str:
    """Which vCPUs, or where that takes more than ``room`` columns, how many."""
    each = "vCPU " + ",".join(map(str, numbers))
    return each if len(each) <= room else f"{len(numbers)} vCPUs"


def hexadecimal(value: int | None) -> str | None:
    """How JSON writes an address or a raw entry."""
    return None if value is None else f"{value:#x}"
