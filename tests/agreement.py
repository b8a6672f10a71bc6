"""Two answers to one question held to each other: of a sweep, and of walks address by address, ours and drgn's."""

from __future__ import annotations

from collections import Counter
from random import Random

from inspector.guest import Guest
from inspector.radix.bulk_walk import Status, translate_many
from inspector.radix.columns import Columns
from inspector.radix.sweep import Sweep
from inspector.spaces import Spaces
from scripts.peers import Drgn


def worth_asking(columns: Columns, base: int, rng: Random, anywhere: int = 100) -> list[int]:
    """The first and last byte of every leaf of a tree and the byte after it, and addresses of any kind."""
    eas = [
        base | offset + inside
        for offset, size in zip(columns.offset.tolist(), columns.size.tolist(), strict=True)
        for inside in (0, size - 1, size)
    ]
    return eas + [base | rng.getrandbits(rng.choice((31, 47, 52))) for _ in range(anywhere)]


def xlate_agrees(guest: Guest, found: Sweep, rng: Random) -> Counter[str]:
    """Hold every leaf of a sweep of ``guest``'s processes, and what lies between, to ``guest.translate``.

    How often each cause was met, ``ok`` among them. Raises AssertionError with the address where they differ."""
    columns = found.columns()
    seen: Counter[str] = Counter()
    for at, root in enumerate(found.roots):
        assert root.pid is not None
        eas = worth_asking(columns.take(columns.root == at), root.base, rng)
        answers = translate_many(found, at, eas)
        for row, ea in enumerate(eas):
            one = guest.translate(ea, pid=root.pid, lpid=root.lpid)
            status = Status(int(answers.status[row]))
            assert one.ok == (status is Status.OK), f"{ea:#x} of PID {root.pid}"
            if one.ok:
                ours = (int(answers.ra[row]), int(answers.entry[row]), int(answers.shift[row]))
                assert ours == (one.ra, one.leaf, one.page_shift), f"{ea:#x} of PID {root.pid}"
            else:
                assert one.cause == status.slug, f"{ea:#x} of PID {root.pid}"
            seen[status.slug] += 1
    return seen


def drgn_agrees(peer: Drgn, spaces: Spaces, rng: Random) -> Counter[str]:
    """Hold every leaf, and what lies between, to drgn's own walk: how many it said are ``mapped`` and ``nowhere``.

    Raises AssertionError with the address where they differ."""
    columns = spaces.columns
    seen: Counter[str] = Counter()
    for at, (tree, root) in enumerate(zip(spaces.trees, spaces.roots, strict=True)):
        eas = worth_asking(columns.take(columns.root == at), root.base, rng)
        answers = translate_many(spaces.sweep, at, eas)
        for row, ea in enumerate(eas):
            mapped = answers.status[row] == Status.OK
            ours = int(answers.ra[row]) if mapped else None
            assert peer.follow(tree.root, ea) == ours, f"{ea:#x} of PID {root.pid}"
            seen["mapped" if mapped else "nowhere"] += 1
    return seen
