"""Results to text or JSON: finds the renderer of a result's topic.

``inspector.render.<topic>`` holds ``text(result, style)``, which yields lines, and ``objects(result)``, which yields
what JSON lines are made of.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from inspector.commands.registry import Result
from inspector.render.style import Style


def text(result: Result, style: Style) -> Iterator[str]:
    """Lines for a person."""
    lines: Iterator[str] = import_module(f"inspector.render.{result.topic}").text(result, style)
    return lines


def json_lines(result: Result) -> Iterator[str]:
    """Lines of JSON, one object an answer."""
    import json

    for each in objects(result):
        yield json.dumps(each)


def objects(result: Result) -> Iterator[dict[str, Any]]:
    """What the lines of JSON hold."""
    found: Iterator[dict[str, Any]] = import_module(f"inspector.render.{result.topic}").objects(result)
    return found
