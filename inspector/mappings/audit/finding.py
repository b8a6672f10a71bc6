"""What an audit tells: plain findings, and how many there are of each rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Severity = Literal["error", "warning", "info"]
RANK: Mapping[Severity, int] = MappingProxyType({"error": 2, "warning": 1, "info": 0})
"""Severities, the gravest first, and how they compare.

An error breaks protection or translation, or is read differently by hardware and by KVM. A warning is odd, and would be
hard to explain on a healthy guest. An info is true and harmless by itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. ``explanation`` is one sentence: what is wrong here, and what it means.

    ``ea`` (quadrant included) and ``ra`` are where it begins; for a table, where it begins to translate and where it
    lies. ``entry`` is the (first) entry at fault, ``entry_address`` its real address, ``level`` that of the table it is
    in (None: the process table, or no entry), and ``meaning`` what it says. ``size`` is in bytes and ``count`` in
    entries, where entries that continue each other were put together. ``other_pid`` and ``other_ea`` are a second
    mapping of the same memory, where it takes two. ``more`` counts findings of the same rule that are not told: only
    the last of a rule that is told has any."""

    rule: str
    severity: Severity
    explanation: str
    lpid: int = 0
    pid: int | None = None
    ea: int | None = None
    ra: int | None = None
    size: int | None = None
    count: int = 1
    entry: int | None = None
    entry_address: int | None = None
    level: int | None = None
    page_shift: int | None = None
    meaning: str = ""
    other_pid: int | None = None
    other_ea: int | None = None
    more: int = 0


@dataclass
class Report:
    """The findings of an audit, the gravest first and by rule, then by PID and address; iterating gives them.

    ``counts`` has the number of each rule that found any, those not told included; ``rules`` are those asked."""

    rules: tuple[str, ...]
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    severities: Mapping[str, Severity] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    @property
    def by_severity(self) -> dict[Severity, int]:
        """How many there are of each severity, those not told included."""
        found: dict[Severity, int] = dict.fromkeys(RANK, 0)
        for rule, count in self.counts.items():
            found[self.severities[rule]] += count
        return found

    def fails(self, on: Severity) -> bool:
        """Whether there is any finding of this severity or a graver one."""
        return any(count and RANK[severity] >= RANK[on] for severity, count in self.by_severity.items())
