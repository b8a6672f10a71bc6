"""Ranges one by one, held to the leaf-by-leaf model of them."""

from __future__ import annotations

from hypothesis import given

from inspector.mappings.ranges import coalesce
from inspector.mappings.runs import runs_of
from inspector.radix.tree import Leaf
from tests.mappings import run_model
from tests.mappings.test_ranges import ROOTS, TREES, columns_of


@given(TREES)
def test_each_says_what_its_model_says(trees: list[list[Leaf]]) -> None:
    modelled = [
        (root, run)
        for root, tree in zip(ROOTS, trees, strict=False)
        for run in run_model.coalesce(tree)
        if isinstance(run, run_model.Run)
    ]
    found = list(runs_of(coalesce(columns_of(trees))))
    assert len(found) == len(modelled)
    for run, (root, model) in zip(found, modelled, strict=True):
        assert (run.lpid, run.pid, run.ea) == (root.lpid, root.pid, root.base | model.offset)
        for name in ("ra", "shift", "count", "size", "flags", "rights", "privileged", "accessed", "dirty", "attribute"):
            assert getattr(run, name) == getattr(model, name), name
        assert run.unknown_flags == model.unknown_flags
