"""The bring-up guest's image, and what it takes for an access: as its C has it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from inspector.errors import TargetError, ToolMissing
from scripts import bringup
from scripts.bringup import ACCESSES, BOARD, LOAD_AT, OUTCOMES, PAGES, STORE_AT, Access, Outcome, built

SOURCE = (bringup.SOURCE / "cases.c").read_text()


def test_without_the_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(ToolMissing, match="gcc-powerpc64le-linux-gnu"):
        built()


def test_what_the_compiler_refuses_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refuses = tmp_path / "refuses"
    refuses.write_text("#!/bin/sh\necho no such machine >&2\nexit 1\n")
    refuses.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _name: str(refuses))
    monkeypatch.setattr(bringup, "guest_cache", lambda: tmp_path / "cache")
    with pytest.raises(TargetError, match="no such machine"):
        built()
    assert list((tmp_path / "cache").iterdir()) == []


def test_both_sides_lay_it_out_alike() -> None:
    def fields(struct: str) -> list[str]:
        (body,) = re.findall(rf"struct {struct} \{{\n(.*?)\n\}};", SOURCE, re.DOTALL)
        text = re.sub(r"/\*.*?\*/", "", body)
        return [name.strip() for line in re.findall(r"u64 ([^;]*);", text) for name in line.split(",")]

    assert fields("access") == [*Access.__slots__, f"unused[{16 - len(Access.__slots__)}]"]
    assert fields("outcome") == [*Outcome.__slots__, f"unused[{16 - len(Outcome.__slots__)}]"]
    for name, address in (("BOARD", BOARD), ("ACCESSES", ACCESSES), ("OUTCOMES", OUTCOMES)):
        assert re.search(rf"#define {name} .*\){address:#x}\)", SOURCE), name
    assert max(LOAD_AT, STORE_AT) < BOARD < ACCESSES < OUTCOMES < PAGES
