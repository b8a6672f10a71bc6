"""Where gdb may not write files, nothing is asked of it that needs one."""

from __future__ import annotations

import resource

import pytest

from inspector.gdbmi.reading import PIECE_BYTES, files_may_grow


@pytest.mark.parametrize(
    ("soft", "may"),
    [(resource.RLIM_INFINITY, True), (PIECE_BYTES, True), (PIECE_BYTES - 1, False), (0, False)],
)
def test_the_limit_on_files_is_heeded(monkeypatch: pytest.MonkeyPatch, soft: int, may: bool) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (soft, resource.RLIM_INFINITY))
    assert files_may_grow() is may
