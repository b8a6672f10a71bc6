"""What is said of a walk through three stages, a guest's guest's (L2): in whose tables it ended, and its long trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inspector.radix.access import encoded_rights
from inspector.radix.outer import STAGE as HOSTS
from inspector.radix.translation import Rights, Step, Translation

OWN, L1S = 1, 2


def whose_fault(answer: Translation, access: str) -> str:
    """In whose tables the walk ended, which it did; ``access`` is what was asked about, as "a load"."""
    if answer.stage == OWN:
        return "it ends in the L2's own tables; the L1 and the host led on to them"
    last = answer.steps[-1] if answer.steps else None
    at, of, on = (
        (answer.gra, "the L2's own tables lead to L2 real", "the L1's")
        if answer.stage == L1S
        else (answer.outer_gra, "the L1's tables lead on to L1 real", "the host's")
    )
    if at is not None:
        refused = last is not None and last.stage == answer.stage and last.kind == "leaf"
        how = f"do not allow {access}" if refused else "do not lead on"
        if answer.stage == L1S and not answer.relocation:
            return f"in real mode no table of the L2's is asked, and the L1's {how} at L2 real {at:#x}"
        return f"{of} {at:#x}, and {on} {how}"
    if last is not None and last.purpose:
        whose = "" if last.purpose.startswith("L1's ") else "L2's own "
        return f"it ends in {on} tables: they do not lead on to the {whose}{last.purpose}"
    return f"it ends in {on} partition table, before any table of the L2's"


def granted(answer: Translation) -> dict[str, Rights]:
    """What the leaf of each stage grants, of an answer that reached them all, by whose it is."""
    leaves = {step.stage: step.value for step in answer.steps if step.kind == "leaf"}
    names = {OWN: "L2's leaf", L1S: "L1's", HOSTS: "host's"}
    return {names[stage]: encoded_rights(value) for stage, value in sorted(leaves.items()) if value is not None}


def said(step: Step) -> str:
    """Whose table a step read, and for what it was read where a walk begins, or is folded into this step."""
    whose = {OWN: "L2's own", L1S: "L1's", HOSTS: "host's"}[step.stage]
    begins = step.level in (3, None) or (step.stage == HOSTS and step.kind == "leaf")
    return f"  the {whose}" + (f", for the {step.purpose}" if step.purpose and begins else "")


def passing(step: Step) -> bool:
    """Whether a step is a leaf of the host's on the way: the address of the next step tells where it led."""
    return step.stage == HOSTS and step.kind == "leaf" and step.purpose != "access itself"


def folded(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps less the host's directories where it led on: of each such walk its leaf alone. JSON has them all."""
    pending: list[Step] = []
    for step in steps:
        if step.stage == HOSTS and step.kind == "directory":
            pending.append(step)
            continue
        if step.kind != "leaf":
            yield from pending
        pending.clear()
        yield step
    yield from pending
