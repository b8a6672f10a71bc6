"""Access rights: every combination of authority, state, keys, attribute and access."""

from __future__ import annotations

from itertools import product

import pytest

from inspector.radix.access import deny, encoded_rights, interrupt_for, process_rights, segment_interrupt, unknown_keys
from inspector.radix.address import Context
from inspector.radix.translation import Access, Interrupt, Rights
from tests.radix.qemu_model import ISSTORE, NOEXEC_GUARD, PRIV_INDEX, PROTFAULT, Cpu
from tests.radix.trees import EXEC, GUARDED, LEAF, PR, PRIV, READ, RELOCATED, SAO, TOLERANT, VALID, WRITE

ACCESSES: tuple[Access, ...] = ("r", "w", "x")
AUTHORITIES = range(16)
STATES = (RELOCATED, RELOCATED | PR)
KEYS = (0, 1 << 62, 1 << 63, 3 << 62)
ATTRIBUTES = (0, SAO, GUARDED, TOLERANT)
EVERY = list(product(AUTHORITIES, STATES, KEYS, KEYS, ATTRIBUTES))


def test_every_combination_is_answered_as_qemus_check_prot_answers() -> None:
    """16 authorities x 2 states x 4 AMR x 4 IAMR x 4 attributes x 3 accesses x 2 stages."""
    for authority, msr, amr, iamr, attribute in EVERY:
        leaf = VALID | LEAF | authority | attribute
        context = Context(msr=msr, amr=amr, iamr=iamr)
        cpu = Cpu(lambda _address: None, msr, amr=amr, iamr=iamr, patb_entry=0)
        for access, partition_scoped in product(ACCESSES, (False, True)):
            index = 0 if msr & PR else PRIV_INDEX
            cause, rights = cpu.check_prot(access, leaf, index, partition_scoped)
            denial = deny(leaf, access, context, partition_scoped=partition_scoped)
            told = (hex(leaf), hex(msr), hex(amr), hex(iamr), access, partition_scoped)
            assert (denial.bits if denial else 0) == cause, told
            granted = encoded_rights(leaf) if partition_scoped else process_rights(leaf, context)
            assert granted.allows(access) == (cause == 0), told
            if not cause and attribute != GUARDED:
                assert str(granted).replace("-", "") == "".join(sorted(rights, key="rwx".index)), told


def test_every_combination_by_the_isas_own_rule() -> None:
    """Told once more in one sentence each, so that a slip that the model shares would show."""
    for authority, msr, amr, iamr, attribute in EVERY:
        leaf = VALID | LEAF | authority | attribute
        user, privileged = bool(msr & PR), bool(authority & PRIV)
        reachable = not (user and privileged)
        keyed = not user and not privileged
        expected = Rights(
            read=reachable and authority & (READ | WRITE) != 0 and not (keyed and amr & 1 << 62),
            write=reachable and authority & WRITE != 0 and not (keyed and amr & 1 << 63),
            execute=reachable and authority & EXEC != 0 and attribute != GUARDED and not (keyed and iamr & 1 << 62),
        )
        assert process_rights(leaf, Context(msr=msr, amr=amr, iamr=iamr)) == expected


def test_only_key_0_counts() -> None:
    others = (1 << 62) - 1
    context = Context(msr=RELOCATED, amr=others, iamr=others | 1 << 63)
    assert process_rights(VALID | LEAF | 7, context) == Rights(True, True, True)


@pytest.mark.parametrize(
    ("leaf", "access", "msr", "amr", "iamr", "cause", "words"),
    [
        (PRIV | 7, "r", PR, 0, 0, "privilege", "MSR[PR]=1"),
        (PRIV | 7, "x", PR, 0, 0, "privilege", "execute"),
        (7, "r", 0, 1 << 62, 0, "key", "KUAP"),
        (7, "w", 0, 1 << 63, 0, "key", "AMR"),
        (7, "x", 0, 0, 1 << 62, "key", "KUEP"),
        (READ, "w", 0, 1 << 63, 0, "protection", "write"),
        (READ, "w", PR, 0, 0, "protection", "write"),
        (PRIV | READ, "x", 0, 0, 1 << 62, "protection", "execute"),
        (EXEC | GUARDED, "x", PR, 0, 0, "guarded", "non-idempotent"),
        (PRIV | EXEC | GUARDED, "x", PR, 0, 0, "guarded", "guarded"),
    ],
)
def test_a_denial_says_which_rule_it_was(
    leaf: int, access: Access, msr: int, amr: int, iamr: int, cause: str, words: str
) -> None:
    denial = deny(VALID | LEAF | leaf, access, Context(msr=msr, amr=amr, iamr=iamr))
    assert denial is not None
    assert denial.cause == cause
    assert words in denial.reason
    assert denial.bits == (NOEXEC_GUARD if access == "x" else PROTFAULT)


@pytest.mark.parametrize(
    ("access", "partition_scoped", "expected"),
    [
        ("r", False, Interrupt("DSI", PROTFAULT)),
        ("w", False, Interrupt("DSI", PROTFAULT | ISSTORE)),
        ("x", False, Interrupt("ISI", PROTFAULT)),
        (None, False, Interrupt("DSI", PROTFAULT)),
        ("r", True, Interrupt("HDSI", PROTFAULT)),
        ("w", True, Interrupt("HDSI", PROTFAULT | ISSTORE)),
        ("x", True, Interrupt("HISI", PROTFAULT)),
    ],
)
def test_the_interrupt_of_each_access(access: Access | None, partition_scoped: bool, expected: Interrupt) -> None:
    assert interrupt_for(access, PROTFAULT, partition_scoped=partition_scoped) == expected


def test_a_segment_interrupt_has_no_cause_bits() -> None:
    assert segment_interrupt("x") == Interrupt("ISEG", 0)
    for access in ("r", "w", None):
        assert segment_interrupt(access) == Interrupt("DSEG", 0)


@pytest.mark.parametrize(
    ("leaf", "msr", "amr", "iamr", "named"),
    [
        (7, 0, None, None, ("AMR", "IAMR")),
        (7, 0, None, 0, ("AMR",)),
        (7, 0, 0, None, ("IAMR",)),
        (7, None, None, 0, ("AMR",)),
        (7, 0, 0, 0, None),
        (7, PR, None, None, None),
        (7 | PRIV, 0, None, None, None),
        (7 | PRIV, PR, None, None, None),
    ],
)
def test_unknown_keys_are_told_only_where_the_rights_hang_on_them(
    leaf: int, msr: int | None, amr: int | None, iamr: int | None, named: tuple[str, ...] | None
) -> None:
    told = unknown_keys(VALID | LEAF | leaf, Context(msr=msr, amr=amr, iamr=iamr))
    if named is None:
        assert told is None
    else:
        assert told is not None
        assert told.startswith(" and ".join(named) + " ")
        assert process_rights(VALID | LEAF | leaf, Context(msr=msr)) == Rights(True, True, True)
