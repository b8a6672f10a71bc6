"""The words of a verdict: a cause, and that its signature is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from inspector.triage.evidence import Evidence

Confidence = Literal["high", "medium", "low"]
CONFIDENCES: tuple[Confidence, ...] = ("high", "medium", "low")
ENOUGH = 3
"""Samples that hold the same are no chance any more."""
HEALTHY, UNEXPLAINED = "healthy", "unexplained"


@dataclass(frozen=True, slots=True)
class Found:
    """That a cause's signature is there: how sure that is, where, and by which evidence, a sentence each."""

    confidence: Confidence
    cpu: int | None = None
    lpid: int | None = None
    pid: int | None = None
    nip: int | None = None
    ea: int | None = None
    ra: int | None = None
    walker: str | None = None
    errno: str | None = None
    device: str | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a guest comes no further: ``meaning`` and ``advice`` are sentences."""

    slug: str
    title: str
    meaning: str
    advice: str
    signature: Callable[[Evidence], Iterable[Found]]


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause that was found, or one of the two ways of finding none."""

    cause: Cause
    found: Found

    @property
    def ok(self) -> bool:
        """Whether there is nothing wrong."""
        return self.cause.slug == HEALTHY
