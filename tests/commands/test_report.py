"""``report`` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspector.errors import RecordError, UsageError
from inspector.report.page import parts_of
from tests.commands.asking import ask, session, shown, told
from tests.fakes import PID, broken_target, firmware_target, guest, kvm_host_target, linux_target


def test_it_says_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "guest.html"
    (answer,) = told(f"report {path}")
    assert answer["path"] == str(path)
    assert answer["file_size"] == path.stat().st_size
    assert answer["processes"] == 2
    assert answer["left_out"] == 0
    facts, _ = parts_of(path.read_bytes())
    assert facts["findings"] or facts["rules"]
    assert "of 2 PIDs" in shown(f"report {path} --force")


def test_pids_are_chosen(tmp_path: Path) -> None:
    path = tmp_path / "guest.html"
    told(f"report {path} --pid {PID}")
    assert [each["pid"] for each in parts_of(path.read_bytes())[0]["processes"]] == [PID]


def test_a_limit_is_said(tmp_path: Path) -> None:
    path = tmp_path / "guest.html"
    answers = told(f"report {path} --limit 3")
    assert answers[0]["ranges"] == 3
    assert "--limit" in answers[1]["note"]


def test_broken_trees_are_told_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "guest.html"
    results = ask(f"report {path}", broken_target())
    assert not all(each.ok for each in results)
    assert parts_of(path.read_bytes())[0]["findings"]


def test_nothing_is_read_before_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "guest.html"
    path.write_text("mine")
    target = linux_target()
    at = guest(target)
    with pytest.raises(RecordError, match="--force"):
        ask(f"report {path}", at)
    assert target.source.asked == []


def test_a_packed_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.html"):
        ask(f"report {tmp_path}/guest.html.gz")


def test_without_radix_tables_nothing_is_written(tmp_path: Path) -> None:
    asked = session(guest(firmware_target()))
    results = ask(f"report {tmp_path}/guest.html", asked.at)
    assert not results[-1].ok
    assert list(tmp_path.iterdir()) == []


def test_of_what_is_behind_guests_lpids_are_counted(tmp_path: Path) -> None:
    assert "of 1 LPID," in shown(f"report {tmp_path}/partitions.html --partition", kvm_host_target())
    assert "of 2 PIDs," in shown(f"report {tmp_path}/processes.html --lpid 1", kvm_host_target())
