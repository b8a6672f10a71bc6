"""What is said aside, on standard error, beside answers that are to be compared or read by a program as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.notes import Aside
from inspector.render import show
from inspector.render.style import Style


def text(result: Aside, style: Style) -> Iterator[str]:
    """Lines for a person."""
    yield from show.text(result.said, style)


def objects(result: Aside) -> Iterator[dict[str, Any]]:
    """As they are where they are not said aside."""
    yield from show.objects(result.said)
