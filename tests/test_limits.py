"""How much may be gathered follows what memory is free."""

from __future__ import annotations

import pytest

from inspector import limits
from inspector.radix.columns import Limits
from tests.fakes import GiB, MiB


def test_what_can_be_afforded_follows_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_free_bytes", lambda: None)
    assert limits.affordable() == Limits()
    assert limits.streamable().tables == Limits().tables
    monkeypatch.setattr(limits, "_free_bytes", lambda: 1 * MiB)
    few = limits.affordable()
    assert few.leaves == few.tables == MiB // 2 // 64
    assert few.table_bytes == MiB // 2
    assert limits.streamable().tables == MiB // 4 // 128
    assert limits.most_ranges() == MiB // 4 // 128
    monkeypatch.setattr(limits, "_free_bytes", lambda: 1 << 50)
    assert limits.affordable() == Limits()
    assert limits.streamable().tables <= 1 << 31, "places are numbered with 32 bits"


def test_this_machine_says_what_is_free() -> None:
    free = limits._free_bytes()
    assert free is not None
    assert MiB < free < 1024 * GiB * 1024
