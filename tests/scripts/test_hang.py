"""The words of scripts/run hang."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from inspector.errors import ReplyTimeout
from scripts import hang
from scripts.guests import Machine


@pytest.fixture
def nothing_boots(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ensure", "guest_files", "hang"):
        monkeypatch.setattr(hang, name, None)


@pytest.mark.usefixtures("nothing_boots")
@pytest.mark.parametrize("words", [["nosuch"], ["xlate"], ["-c", "regs", "-c", "maps --nosuch"]])
def test_wrong_words_are_told_before_anything_boots(words: list[str]) -> None:
    assert hang.main(words) == 2


@pytest.mark.usefixtures("nothing_boots")
def test_help_boots_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert hang.main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: scripts/run hang")


def test_it_wants_what_a_kvm_host_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: set[str] = set()

    def ensure(tools: list[SimpleNamespace], _say: object) -> None:
        wanted.update(tool.program for tool in tools)
        raise ReplyTimeout("enough")

    monkeypatch.setattr(hang, "ensure", ensure)
    assert hang.main([]) == 3
    assert wanted == {"gdb-multiarch", "qemu-system-ppc64", "powerpc64le-linux-gnu-gcc", "fdtput"}


@pytest.mark.parametrize(
    ("words", "run"), [(["maps", "--pid", "5"], ["maps", "--pid", "5"]), ([], ["triage"]), (["--cpu", "0"],) * 2]
)
def test_the_inspector_is_run_while_it_hangs(monkeypatch: pytest.MonkeyPatch, words: list[str], run: list[str]) -> None:
    machine, hangs = Machine("powernv9-kvm"), []

    @contextmanager
    def scene(_progress: object) -> Iterator[SimpleNamespace]:
        hangs.append(True)
        yield SimpleNamespace(machine=machine)
        hangs.clear()

    def look(looked_at: Machine, words: list[str]) -> int:
        assert (looked_at, words, hangs) == (machine, run, [True])
        return 7

    for name, instead in (("ensure", print), ("guest_files", print), ("hang", scene), ("look", look)):
        monkeypatch.setattr(hang, name, instead)
    assert hang.main(words) == 7
    assert not hangs
