"""Whether a faster way to a guest's RAM leads to this guest's RAM: samples compared with the guest itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from inspector.errors import MemoryReadError
from inspector.memory.physical import BatchSource, MemorySource

SAMPLES = 64
SAMPLE_BYTES = 256
"""How much is compared."""

PLACES = 8 * SAMPLES
"""Out of how many places the samples are chosen."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``differ`` is the first address at which the two do not agree; ``telling`` how many samples that hold
    something agree."""

    differ: int | None
    telling: int


def compare(ours: MemorySource, guest: MemorySource, spans: Sequence[tuple[int, int]]) -> Verdict:
    """Compare samples of every (start, end) of ``spans`` with the stopped ``guest``: its beginning, and as many more as
    its size makes of them all.

    Places that hold something are preferred, that zero equals zero proving little; but some are compared
    whatever they hold, for the guest may have something there. Raises what ``ours`` raises, and TargetError."""
    chosen: list[tuple[int, bytes]] = []
    starts = [start for start, end in spans if end - start >= SAMPLE_BYTES]
    for address in starts:
        chosen.append((address, ours.read(address, SAMPLE_BYTES)))
    for number, address in enumerate(_places(spans)):
        if len(chosen) >= SAMPLES + len(starts):
            break
        data = ours.read(address, SAMPLE_BYTES)
        if any(data) or number % 16 == 0:
            chosen.append((address, data))
    told = _read(guest, [(address, SAMPLE_BYTES) for address, _ in chosen])
    for (address, data), there in zip(chosen, told, strict=True):
        if there != data:
            return Verdict(address, 0)
    return Verdict(None, sum(any(data) for _, data in chosen))


def _read(guest: MemorySource, runs: list[tuple[int, int]]) -> Iterable[bytes | MemoryReadError]:
    if isinstance(guest, BatchSource):
        return guest.read_runs(runs)
    return [guest.read(*run) for run in runs]


def _places(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Addresses to compare after the beginnings: through all spans, then ever more closely."""
    total = sum(end - start for start, end in spans)
    step = max(1, total // PLACES // SAMPLE_BYTES) * SAMPLE_BYTES
    places: list[int] = []
    for start, end in spans:
        places += range(start + step, end - SAMPLE_BYTES + 1, step)
    return [place for start in range(8) for place in places[start::8]]
