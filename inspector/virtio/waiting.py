"""How long a queue's oldest pending buffer has waited, as far as looking at it again and again can tell.

Nothing in a ring or a device says when a buffer was made available. But a look at which the device had come just as
far, and something was pending already, saw the same buffer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from inspector.virtio.layout import behind


@dataclass(frozen=True, slots=True)
class Look:
    """The driver's index, and the one that the device had taken buffers up to, at so many seconds of a clock."""

    at: float
    available: int
    taken: int

    @property
    def pending(self) -> int:
        """Buffers that wait."""
        return behind(self.available, self.taken)


@dataclass
class Waits:
    """The looks at every queue, of which the first is kept that saw what waits now. ``clock`` gives seconds."""

    clock: Callable[[], float] = time.monotonic
    first: dict[tuple[str, int], Look] = field(default_factory=dict)

    def since(self, device: str, queue: int, available: int, taken: int) -> float | None:
        """For how many seconds at least the oldest buffer that is pending now has been: 0 where this is the first look
        that saw it, None where nothing is pending."""
        key, look = (device, queue), Look(self.clock(), available, taken)
        before = self.first.get(key)
        if not look.pending:
            self.first.pop(key, None)
            return None
        if before is None or before.taken != look.taken or before.pending > look.pending:
            self.first[key] = look
            return 0.0
        return look.at - before.at
