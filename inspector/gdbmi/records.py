"""GDB/MI output records: which line is what, and what it says.

pygdbmi's parser turns a record into values; it is imported when the first one needs it. The
contents of memory are sliced straight out of the line, because a parser that looks at every
character costs more than the read. The grammar is that of the GDB manual, "GDB/MI Output Syntax".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from inspector.errors import ProtocolError, UsageError


class MiError(ProtocolError):
    """gdb answered ``^error``. ``message`` is gdb's own text."""

    def __init__(self, command: str, message: str) -> None:
        self.command = command
        self.message = message
        first = " ".join(message.split())
        super().__init__(f"gdb answers {command!r} with {first!r}; 'help gdb' says what it may be asked")


@dataclass(frozen=True, slots=True)
class Reply:
    """One result record and the stream records that came with it.

    ``result`` is the class (``done``, ``error``, ``running`` …), ``line`` the record from its class
    on, without token and newline, ``before`` the raw text between the previous result and this one."""

    result: bytes
    line: bytes
    before: bytes = b""

    def payload(self) -> dict[str, Any]:
        """The record's values. Raises ProtocolError where the record is not whole."""
        parsed = parse(b"^" + self.line).get("payload")
        return parsed if isinstance(parsed, dict) else {}

    def error(self) -> str:
        """gdb's message, where the result is an error."""
        return str(self.payload().get("msg", "no message"))

    def text(self) -> str:
        """What the command printed: its console (``~``) and target (``@``) streams, in order."""
        return stream_text(self.before.split(b"\n"))


def parse(line: bytes) -> dict[str, Any]:
    """One record as pygdbmi gives it. Raises ProtocolError where it is cut short or garbled."""
    from pygdbmi import gdbmiparser

    try:
        parsed: dict[str, Any] = gdbmiparser.parse_response(line.decode("utf-8", "replace"))
    except Exception as bad:  # pygdbmi raises ValueError, AssertionError, IndexError and KeyError alike
        raise ProtocolError(f"gdb's answer is cut short or garbled ({line[:60]!r}…); run the command again") from bad
    return parsed


def stream_text(lines: Iterable[bytes]) -> str:
    """The text of the console and target streams among ``lines``."""
    pieces = []
    for line in lines:
        if line[:2] in (b'~"', b'@"') and line.endswith(b'"'):
            if (text := _plain(line[2:-1])) is None:
                payload = parse(line).get("payload")
                text = "" if payload is None else str(payload)
            pieces.append(text)
    return "".join(pieces)


def _plain(inner: bytes) -> str | None:
    """A c-string without its quotes, where nothing is escaped but ends of lines and tabs; None where more is.

    The monitor's answers come to thousands of lines, for which a guest stands still, and this is a tenth of what a
    whole parser takes."""
    text = inner.replace(rb"\r", b"\r").replace(rb"\n", b"\n").replace(rb"\t", b"\t")
    if b"\\" in text or b'"' in text:
        return None
    return text.decode("utf-8", "replace")


def memory_contents(line: bytes, length: int) -> bytes | None:
    """The bytes of a ``-data-read-memory-bytes`` result, or None where it does not hold exactly ``length``.

    gdb answers with several blocks when only parts could be read; that is not a read of ``length`` bytes."""
    start = line.find(b'contents="')
    if start < 0:
        return None
    start += 10
    end = start + 2 * length
    if line[end : end + 1] != b'"':
        return None
    try:
        return bytes.fromhex(line[start:end].decode("ascii"))
    except ValueError:
        return None


def has_control(text: str) -> bool:
    """Whether ``text`` holds anything that could end or break a command line."""
    return not text.isprintable()


def quote(text: str) -> str:
    """``text`` as an MI c-string. Raises UsageError for control characters, which have no place in a command."""
    if has_control(text):
        raise UsageError(f"{text!r} holds a control character; leave it out")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
