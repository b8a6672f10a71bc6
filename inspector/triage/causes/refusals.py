"""Why KVM's walk refuses what the hardware takes, in words: a check of the walk each, and each historic bug."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from inspector.radix.software_walk import VARIANTS
from inspector.triage.hostkernel import AS_SPLIT, ON_DD1, SEED
from inspector.triage.storage import Owner

CHECKS: Mapping[str, str] = MappingProxyType(
    {
        "stray-page-bits": "the page number of a leaf has bits below the page's size: the MMU passes over them, KVM "
        "refuses the leaf (kvmppc_mmu_walk_radix_tree, the check of gpa)",
        "misaligned-base": "a table's base has bits below the table's size: the MMU drops them (QEMU 7.2 takes "
        "those of a guest's root as they are), KVM refuses the table",
        "leaf-too-large": "a leaf stands at the root, for 512 GiB: QEMU's MMU takes it, processors and KVM do not",
        "tree-size": "RTS of the process-table entry says a tree of other than 52 bits, and KVM takes no other",
        "table-size": "NLS (or RPDS) says a table of a size that KVM does not take at this level: it wants 2^13, 2^9, "
        "2^9, and 2^9 or 2^5 entries",
        "process-table-size": "PRTS of the registered process table is above 24, which KVM refuses from 4.20 on",
        "pid-beyond-table": "KVM finds the PID past the end of the process table, by the size that it was registered "
        "with",
        "not-present": "KVM takes an entry without its valid bit (V, bit 0) for none, whatever else it holds",
        "no-leaf": "there is a directory where only a leaf may stand",
        "quadrant": "KVM walks quadrants 0 and 3 only",
        "no-read-right": "the code may be executed and not read: fetches need no right to read, and KVM reads the "
        "instruction as data (kvmppc_ld wants may_read)",
        "no-execute-right": "KVM finds no right to execute there (kvmppc_ld wants may_execute)",
        "code-unreadable": "the page number of the leaf has bits above the 52 that real addresses have: the MMU drops "
        "them, and KVM looks for a memory slot there",
        "no-root": "KVM has no process table of this guest's to begin at",
    }
)
UNREADABLE = (
    "KVM reads the guest's tables from its memory slots, and none holds that address: where it has bits above 52, the "
    "MMU drops them"
)
BUGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "kvm@pre-70cd4c10b2": (
            "both historic bugs: the whole of process_table is taken for a base (9e04ba69be), and RPDB_MASK is wrong "
            "(e99833448c)",
            "70cd4c10b2, first in Linux 4.11",
        ),
        "kvm@pre-70cd4c10b2:process-table": (
            "the process-table bug: the whole of process_table, size field and all, is taken for a base (9e04ba69be)",
            "70cd4c10b2, first in Linux 4.11",
        ),
        "kvm@pre-70cd4c10b2:rpdb-mask": (
            "the RPDB mask bug: RPDB_MASK keeps the root's size field and loses its bits 4 to 11 (e99833448c)",
            "70cd4c10b2, first in Linux 4.11",
        ),
        ON_DD1: ("on a POWER9 DD1 RTS is taken for 3 more than it is", "2bf1071a8d50, first in Linux 4.19"),
    }
)
"""Of the walks that were mended: what is wrong, and the mend."""


def refusal(owner: Owner) -> tuple[str, str, str]:
    """(errno, slug of the check, its sentence) of what KVM's walk makes of the instruction."""
    if owner.refused is not None:
        return owner.refused
    walk = owner.walk
    if walk is None or walk.ok:
        return "", "", ""
    return walk.errno or "", walk.cause or "", walk.reason


def check(slug: str) -> str:
    """Which check that is, in words."""
    if slug.startswith("table-") and slug not in CHECKS:
        return UNREADABLE
    return CHECKS.get(slug, "KVM's walk is stricter there than the MMU")


def lineage(owner: Owner) -> str:
    """Whether it is a bug that was mended, and which walks would find the instruction."""
    walker = owner.by.walker
    if walker in BUGS and ({SEED, AS_SPLIT} & set(owner.passing)):
        what, mend = BUGS[walker]
        return f"it is of {what}; mended by {mend}. Walkers that find it: {', '.join(owner.passing)}"
    if owner.passing:
        return f"walkers that would find it: {', '.join(owner.passing)}"
    return f"none of the {len(VARIANTS)} walks of KVM's that are known here would find it: all kernels are as strict"


def whose(owner: Owner) -> str:
    """Which kernel's walk it is, and when that kernel walks."""
    first = (
        "; from 5.0 on it has the MMU read the instruction first, by quadrant 1 or 2, and walks only where that fails"
    )
    walk = owner.walk
    seeds = f", which goes here as {walk.walker} does" if walk is not None and walk.walker != owner.by.walker else ""
    doubt = f"; {owner.by.doubt}" if owner.by.doubt else ""
    return f"{owner.by.how}, and its walk is {owner.by.walker}{seeds}{first if owner.by.mmu_first else ''}{doubt}"
