"""May this access proceed: the encoded access authority of a leaf, privilege, key 0 and attributes.

Power ISA 3.0B, book III, 5.7.11 and 5.7.12; QEMU 7.2 ``ppc_radix64_check_prot``. Radix always uses key 0 of AMR and
IAMR, for pages that are not privileged, in privileged state only.
"""

from __future__ import annotations

from dataclasses import dataclass

from inspector.radix.address import Context
from inspector.radix.bits import (
    AMR_NO_READ,
    AMR_NO_WRITE,
    ATT_NON_IDEMPOTENT,
    DSISR_ISSTORE,
    DSISR_NOEXEC_OR_GUARDED,
    DSISR_PROTFAULT,
    IAMR_NO_EXECUTE,
    PTE_ATT,
    PTE_EXEC,
    PTE_PRIVILEGED,
    PTE_READ,
    PTE_WRITE,
)
from inspector.radix.translation import NO_RIGHTS, Access, Interrupt, Rights

VERB = {"r": "read", "w": "write", "x": "execute"}


def encoded_rights(leaf: int) -> Rights:
    """What the leaf alone grants: EAA[2] is read *and* write; non-idempotent I/O is never executed."""
    write = bool(leaf & PTE_WRITE)
    guarded = leaf & PTE_ATT == ATT_NON_IDEMPOTENT
    return Rights(write or bool(leaf & PTE_READ), write, bool(leaf & PTE_EXEC) and not guarded)


def process_rights(leaf: int, context: Context) -> Rights:
    """What a process-scoped leaf grants to this vCPU as it is. Unknown AMR and IAMR count as open: see
    :func:`unknown_keys`."""
    granted = encoded_rights(leaf)
    if context.problem_state:
        return NO_RIGHTS if leaf & PTE_PRIVILEGED else granted
    if leaf & PTE_PRIVILEGED:
        return granted
    return granted & key_rights(context)


def key_rights(context: Context) -> Rights:
    """What key 0 of AMR and IAMR leaves to privileged code on a page that is not privileged; unknown ones leave all."""
    amr, iamr = context.amr or 0, context.iamr or 0
    return Rights(not amr & AMR_NO_READ, not amr & AMR_NO_WRITE, not iamr & IAMR_NO_EXECUTE)


def unknown_keys(leaf: int, context: Context) -> str | None:
    """A sentence on what was assumed where rights through ``leaf`` hang on an AMR or IAMR that is not known."""
    if context.problem_state or leaf & PTE_PRIVILEGED:
        return None
    names = [name for name, value in (("AMR", context.amr), ("IAMR", context.iamr)) if value is None]
    if not names:
        return None
    verb = "are" if len(names) > 1 else "is"
    return (
        f"{' and '.join(names)} {verb} not known: key 0 is assumed open, and a kernel that shuts it (Linux's KUAP and "
        "KUEP) has fewer rights on this user page"
    )


@dataclass(frozen=True, slots=True)
class Denial:
    """Why an access may not proceed, and the bits it leaves in DSISR or SRR1 (less ISSTORE)."""

    cause: str
    reason: str
    bits: int


def deny(leaf: int, access: Access, context: Context, *, partition_scoped: bool = False) -> Denial | None:
    """Why this access through this leaf is refused, or None where it may proceed."""
    granted = encoded_rights(leaf) if partition_scoped else process_rights(leaf, context)
    if granted.allows(access):
        return None
    bits = DSISR_NOEXEC_OR_GUARDED if access == "x" else DSISR_PROTFAULT
    verb = VERB[access]
    if access == "x" and leaf & PTE_ATT == ATT_NON_IDEMPOTENT:
        return Denial("guarded", "the page is non-idempotent I/O, which is guarded: it cannot be executed", bits)
    if not partition_scoped and context.problem_state and leaf & PTE_PRIVILEGED:
        return Denial("privilege", f"the page is privileged, and user state (MSR[PR]=1) may not {verb} it", bits)
    if encoded_rights(leaf).allows(access):
        register = "IAMR" if access == "x" else "AMR"
        kind = "KUEP" if access == "x" else "KUAP"
        return Denial(
            "key",
            f"the page is the user's, and key 0 of {register} forbids the kernel to {verb} it (Linux's {kind})",
            bits,
        )
    return Denial("protection", f"the leaf does not allow to {verb}", bits)


def interrupt_for(access: Access | None, bits: int, *, partition_scoped: bool = False) -> Interrupt:
    """The storage interrupt that an access (a load, where none was named) raises with these cause bits."""
    if access == "x":
        return Interrupt("HISI" if partition_scoped else "ISI", bits)
    if access == "w":
        bits |= DSISR_ISSTORE
    return Interrupt("HDSI" if partition_scoped else "DSI", bits)


def segment_interrupt(access: Access | None) -> Interrupt:
    """The segment interrupt of an EA outside the 52 bits or in a quadrant that is not to be had."""
    return Interrupt("ISEG" if access == "x" else "DSEG", 0)
