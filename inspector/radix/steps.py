"""What each step of a walk read, decoded."""

from __future__ import annotations

from inspector.radix.descriptors import PATE0, PATE1, PRTE0, PRTE1
from inspector.radix.fields import Decoded
from inspector.radix.formats import decode_entry
from inspector.radix.translation import Step


def decode_step(step: Step) -> tuple[Decoded, ...]:
    """The words that a step read, decoded: none where it could not be read, two where the entry has two and both
    were read."""
    if step.value is None:
        return ()
    if step.table == "radix":
        return (decode_entry(step.value, step.level, step.shift, min(step.stage, 2)),)
    first, second = (PATE0, PATE1) if step.table == "partition-table" else (PRTE0, PRTE1)
    words = [first.decode(step.value)]
    if step.second is not None:
        words.append(second.decode(step.second))
    return tuple(words)
