"""Asks KVM's software walk, and says how it must refuse."""

from __future__ import annotations

from inspector.radix.software_walk import translate, variant
from inspector.radix.translation import Translation
from tests.radix.trees import EA, World

BOTH = "kvm@pre-70cd4c10b2"
"""The variant with both of the bugs that the founding text mended."""


def walk(world: World, ea: int = EA, name: str = "kvm") -> Translation:
    return translate(world.reader(), world.context, ea, variant(name))


def refused(world: World, errno: str, cause: str, ea: int = EA, name: str = "kvm") -> Translation:
    """Assert that the walk fails so."""
    answer = walk(world, ea, name)
    assert (answer.status, answer.errno, answer.cause) == ("fault", errno, cause), answer
    assert answer.ra is None
    assert answer.reason
    return answer
