"""JSON from strangers: bounded before it is parsed, and words that are safe to print.

A snapshot's manifest and a register file are untrusted. The parser itself runs no code, but 16 MiB
of brackets become hundreds of MiB of lists, a deep nest overflows the stack, and a string may carry
a terminal's control sequences.
"""

from __future__ import annotations

from typing import Any

MAX_BYTES = 16 << 20
MAX_BRACKETS = 400_000
MAX_COMMAS = 1_200_000
MAX_TEXT = 4096
MASK64 = (1 << 64) - 1


def parse(raw: bytes) -> Any:
    """The value that ``raw`` (UTF-8 JSON) holds. Raises ValueError, its words fit to follow 'it is no JSON: '."""
    import json

    if len(raw) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES >> 20} MiB")
    if raw.count(b"[") + raw.count(b"{") > MAX_BRACKETS or raw.count(b",") > MAX_COMMAS:
        raise ValueError("it holds more values than anything real would")
    try:
        text = raw.decode("utf-8")
        return json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError as e:
        raise ValueError(f"byte {e.start} is not UTF-8") from None
    except json.JSONDecodeError as e:
        raise ValueError(f"line {e.lineno}, column {e.colno}: {e.msg}") from None
    except RecursionError:
        raise ValueError("its brackets are nested too deep") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number that JSON knows")


def number(value: object) -> int | None:
    """An unsigned 64-bit number from a JSON number or a string such as '0x10', or None if it is neither."""
    if isinstance(value, str):
        if not value.isascii() or len(value) > 66:
            return None
        try:
            value = int(value, 0)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MASK64:
        return None
    return value


def text(value: object) -> str | None:
    """A string without what would steer a terminal, cut to MAX_TEXT characters; None if it is no string."""
    if not isinstance(value, str):
        return None
    cut = value[:MAX_TEXT]
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cut)


def plain(value: object, depth: int = 4) -> Any:
    """``value`` with every string made safe to print; what is nested deeper than ``depth`` is left out."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {text(k): plain(v, depth - 1) for k, v in value.items()} if depth else None
    if isinstance(value, list):
        return [plain(v, depth - 1) for v in value] if depth else None
    return value
