"""A figure beside its floor, and how time is taken for both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One figure and its floor, in ``unit``; ``ratio`` is figure to floor, and ``bound`` what it should not pass
    (``least``: should reach)."""

    name: str
    what: str
    figure: float
    floor: float
    unit: str
    bound: float
    least: bool = False
    floor_is: str = "bare socket"
    besides: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Figure to floor."""
        return self.figure / self.floor

    @property
    def kept(self) -> bool:
        """Whether it is within its bound."""
        return self.ratio >= self.bound if self.least else self.ratio <= self.bound


def median_time(work: Callable[[], object], times: int) -> float:
    """Median seconds of one call."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def best_time(work: Callable[[], object], rounds: int = 5) -> float:
    """Least seconds of one call: what it costs where nothing else is in the way."""
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return min(took)
