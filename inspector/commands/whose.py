"""Whose tables a command asks about: the numbers after ``--lpid``, ``--nested`` and the like, as they are written."""

from __future__ import annotations

from argparse import Namespace

from inspector.commands.notes import Note
from inspector.commands.registry import Session
from inspector.errors import UsageError
from inspector.partitions import made, out_of_sight

NESTED = "of its own guest N, by the partition table that it told of"
"""What ``--nested`` is; :func:`nested_of` reads it."""


def number(session: Session, text: str, option: str, what: str, way: str) -> int:
    """The value that an option gives, which takes ``what``. Raises UsageError where it is none, or negative, with a
    ``way`` out."""
    try:
        value = session.value(text)
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from None
    if value >> 63:
        raise UsageError(f"{option} takes {what}, not {text!r}; {way}")
    return value


def vmm_pid(session: Session, text: str) -> int:
    """The radix PID that ``--vmm`` gives. Raises UsageError."""
    return number(session, text, "--vmm", "the radix PID of a process", "'pids --lpid 0' lists the host's")


def lpid_of(session: Session, arguments: Namespace) -> int:
    """The LPID that ``--lpid`` gives, 0 where it does not. Raises UsageError."""
    if arguments.lpid is None:
        return 0
    value = number(session, arguments.lpid, "--lpid", "an LPID", "'lpids' lists those there are")
    if value and session.at.roots.flat and value not in made(session.at):
        raise out_of_sight(value)
    return value


def nested_of(session: Session, arguments: Namespace) -> tuple[int, int] | None:
    """(PTCR, LPID) of the guest's guest that ``--nested`` asks for, None where it does not. Raises UsageError."""
    text: str | None = arguments.nested
    if text is None:
        return None
    if not lpid_of(session, arguments):
        raise UsageError("--nested is of a KVM guest's own guests; say whose with --lpid N, 'lpids' lists them")
    ptcr, colon, number = text.rpartition(":")
    if not colon or not ptcr.strip() or not number.strip():
        raise UsageError(f"--nested takes the value that the guest registered and an LPID in it, not {text!r}: PTCR:N")
    return session.value(ptcr), session.value(number)


def whose_guest(lpid: int, nested: tuple[int, int]) -> Note:
    """Whose guest it is that is told of."""
    return Note(f"LPID {nested[1]} here is the guest of LPID {lpid}, by the partition table that this has written")
