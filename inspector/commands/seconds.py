"""``--seconds``: for how long a guest is looked on, wherever a command samples it."""

from __future__ import annotations

import math

from inspector.commands.registry import Parser
from inspector.errors import UsageError

MOST_SECONDS = 60


def seconds_argument(parser: Parser) -> None:
    """``--seconds S``."""
    parser.add_argument("--seconds", metavar="S", help="look on for so long, from first to last sample; 2 if left out")


def seconds_of(text: str | None) -> float | None:
    """What ``--seconds`` said, None where it said nothing. Raises UsageError for what is no such time."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MOST_SECONDS:
        raise UsageError(f"--seconds takes a number from 0 to {MOST_SECONDS}, not {text!r}")
    return value
