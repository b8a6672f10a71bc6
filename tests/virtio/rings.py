"""Split rings laid into memory by a test's own hand, as virtio 1.2, 2.7 has them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.virtio.state import DeviceState, QueueState
from tests.fakes import SparseMemory

RAM_BYTES = 1 << 20
DESC, AVAIL, USED, BUFFERS, TABLE = 0x1_0000, 0x2_0000, 0x3_0000, 0x4_0000, 0x5_0000
EVENT_IDX, INDIRECT, VERSION_1, PLATFORM, PACKED = 1 << 29, 1 << 28, 1 << 32, 1 << 33, 1 << 34
USUAL = EVENT_IDX | INDIRECT | VERSION_1
NEXT, WRITE, TABLE_OF = 1, 2, 4


@dataclass
class Laid:
    """A queue of ``num`` entries in a megabyte of RAM."""

    num: int = 8
    little: bool = True
    features: int = USUAL
    shift: int = 0
    """What a bus adds to every address."""
    source: SparseMemory = field(default_factory=SparseMemory)

    @property
    def order(self) -> str:
        return "<" if self.little else ">"

    @property
    def memory(self) -> PhysicalMemory:
        return PhysicalMemory(self.source, RamMap([Range(0, RAM_BYTES, "ram")]))

    def describe(self, index: int, address: int, length: int, flags: int = 0, after: int = 0, at: int = DESC) -> None:
        entry = struct.pack(f"{self.order}QIHH", address + self.shift, length, flags, after)
        self.source.put(at + 16 * index, entry)

    def offer(self, idx: int, heads: dict[int, int] | None = None, *, flags: int = 0, event: int = 0) -> None:
        """The available ring: its index, and what stands at free-running places."""
        self.source.put(AVAIL, struct.pack(f"{self.order}HH", flags, idx & 0xFFFF))
        for place, head in (heads or {}).items():
            self.source.put(AVAIL + 4 + 2 * (place % self.num), struct.pack(f"{self.order}H", head))
        self.source.put(AVAIL + 4 + 2 * self.num, struct.pack(f"{self.order}H", event & 0xFFFF))

    def give_back(self, idx: int, *, flags: int = 0, event: int = 0, last: tuple[int, int] = (0, 0)) -> None:
        """The used ring: its index, and the latest entry."""
        self.source.put(USED, struct.pack(f"{self.order}HH", flags, idx & 0xFFFF))
        self.source.put(USED + 4 + 8 * ((idx - 1) % self.num), struct.pack(f"{self.order}II", *last))
        self.source.put(USED + 4 + 8 * self.num, struct.pack(f"{self.order}H", event & 0xFFFF))

    def device(self, **more: object) -> DeviceState:
        known: dict[str, object] = {"status": 0xF, "features": self.features, "offered": self.features, "count": 1}
        return DeviceState("/machine/x", "virtio-blk", 2, **{**known, "little": self.little, **more})  # type: ignore[arg-type]

    def queue(self, last: int = 0, used: int = 0, **more: object) -> QueueState:
        desc, avail, taken = (at + self.shift for at in (DESC, AVAIL, USED))
        return QueueState(0, self.num, desc, avail, taken, used, last, **more)  # type: ignore[arg-type]
