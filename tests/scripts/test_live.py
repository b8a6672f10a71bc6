"""The words of scripts/run live."""

from __future__ import annotations

import pytest

from inspector.errors import UsageError
from scripts import live
from scripts.guests import Machine
from scripts.kinds import KINDS


def test_the_kind_of_guest_and_the_words_that_remain() -> None:
    assert live.chosen([]) == ("pseries-p9", [])
    assert live.chosen(["maps", "--guest", "x"]) == ("pseries-p9", ["maps", "--guest", "x"])
    assert live.chosen(["--guest", "powernv9", "maps"]) == ("powernv9", ["maps"])


@pytest.mark.parametrize("words", [["--guest"], ["--guest", "vax"]])
def test_a_guest_that_there_is_not(words: list[str]) -> None:
    with pytest.raises(UsageError, match="powernv9"):
        live.chosen(words)
    assert live.main(words) == 2


@pytest.mark.parametrize("words", [["nosuch"], ["xlate"], ["-c", "regs", "-c", "maps --nosuch"], ["--set", "pid"]])
def test_wrong_words_are_told_before_anything_boots(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "Machine", None)
    monkeypatch.setattr(live, "ensure", None)
    assert live.main(words) == 2


def test_help_boots_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(live, "Machine", None)
    monkeypatch.setattr(live, "ensure", None)
    assert live.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: scripts/run live")
    assert all(name in said for name in KINDS)


def test_right_words_are_no_help() -> None:
    words: list[list[str]] = [[], ["xlate", "$nip", "--json"], ["-c", "regs", "-c", "# nothing"], ["-f", "nowhere"]]
    assert not any(map(live.asks_for_help, words))


def test_a_machine_of_no_kind() -> None:
    with pytest.raises(UsageError, match="pseries-p9"):
        Machine("vax")


def test_progress_ends_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with live.Progress() as progress:
        for spent in (0.5, 1.0, 1.5, 2.1):
            progress(spent)
    assert capsys.readouterr().err == "..\n"
    with live.Progress() as progress:
        progress(0.2)
    assert capsys.readouterr().err == ""


def test_kinds_are_named_as_they_are_found() -> None:
    assert [name for name, kind in KINDS.items() if kind.name != name] == []
