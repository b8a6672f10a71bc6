"""Looks into the radix page tables of a ppc64 guest, live or recorded.

    import inspector

    with inspector.open_target("demo") as guest:
        answer = guest.translate(0xC000_0000_0000_0000)
        print(answer.ra, answer.page_shift, answer.rights)

Whatever a command can do, a caller can do with the same objects.
"""

from __future__ import annotations

from typing import Any

_PUBLIC = {
    "Guest": "inspector.guest",
    "Moment": "inspector.moments",
    "Selection": "inspector.mappings.select",
    "Spaces": "inspector.spaces",
    "Process": "inspector.processes",
    "InspectorError": "inspector.errors",
    "MemoryReadError": "inspector.errors",
    "TargetError": "inspector.errors",
    "UsageError": "inspector.errors",
    "Translation": "inspector.radix.translation",
    "audit": "inspector.mappings.audit.run",
    "difference": "inspector.moments",
    "open_target": "inspector.opening",
    "record": "inspector.recording",
}

__all__ = [
    "Guest",
    "InspectorError",
    "MemoryReadError",
    "Moment",
    "Process",
    "Selection",
    "Spaces",
    "TargetError",
    "Translation",
    "UsageError",
    "audit",
    "difference",
    "open_target",
    "record",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that starting costs only what is used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)
