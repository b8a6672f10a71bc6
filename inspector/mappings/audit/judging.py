"""Which rules judge which trees: what is wrong in a process's tree of Linux's may be as it should be in another."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from inspector.mappings.audit.rules import RULES
from inspector.radix.columns import Bools, Columns, Root

OF_PARTITIONS = frozenset(
    {
        *("tables-guest", "host-page-shared", "normal-outside-ram", "io-on-ram", "stray-rpn", "leaf-512g"),
        *("reserved-leaf", "aged", "changed-read-only", "unreferenced", "no-rights"),
        *("tree-size", "root-size", "table-size", "misaligned-base", "no-leaf", "cycle", "shared-levels"),
        *("table-outside-ram", "overlapping-tables", "same-root", "shared-table", "shared-within"),
        *("reserved-directory", "table-unread", "too-large", "invalid-entry"),
    }
)
"""What a partition-scoped tree is held to. Its leaves allow user mode everything: it is the guest's own tree that says
who may do what (Linux 6.1 ``kvmppc_book3s_instantiate_page``)."""
OF_PARTITIONS_ALONE = frozenset({"tables-guest", "host-page-shared"})
NOT_OF_GUESTS = frozenset({"normal-outside-ram", "table-outside-ram", "process-table-outside-ram"})
"""What a guest's own trees are not held to: what it calls RAM is not known, but only what the host has there now."""


def judges(rule: str, root: Root) -> bool:
    """Whether a tree is held to a rule."""
    if root.pid is None:
        return rule in OF_PARTITIONS and not (rule in OF_PARTITIONS_ALONE and not root.lpid)
    return rule not in OF_PARTITIONS_ALONE and not (root.lpid and rule in NOT_OF_GUESTS)


def judging(rules: Collection[str], roots: Sequence[Root]) -> tuple[str, ...]:
    """Those of ``rules`` that any of these trees is held to, in order; where there is no tree, all of processes'."""
    if not roots:
        return tuple(slug for slug in RULES if slug in rules and slug not in OF_PARTITIONS_ALONE)
    return tuple(slug for slug in RULES if slug in rules and any(judges(slug, root) for root in roots))


def judged(rule: str, columns: Columns) -> Bools | None:
    """Which trees (by number) of these leaves are held to a rule; None where all are."""
    found = np.array([judges(rule, root) for root in columns.roots], np.bool_)
    return None if found.all() else found


def of_processes(columns: Columns) -> Bools | None:
    """Which of these leaves are of processes; None where all are."""
    found = np.array([root.pid is not None for root in columns.roots], np.bool_)
    return None if found.all() else found[columns.root]


def guests_own(roots: Sequence[Root]) -> bool:
    """Whether these are trees of a guest's processes, whose memory is what the host has behind it."""
    return bool(roots) and all(root.lpid and root.pid is not None for root in roots)
