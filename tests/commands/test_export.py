"""``export``: the mappings as files, the same as 'maps --json' tells."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet
import pytest

import inspector
from inspector.commands.registry import run
from inspector.errors import RecordError, ToolMissing, UsageError
from inspector.guest import Guest
from tests.commands.asking import ask, lines, objects, session, told
from tests.exporting.missing import without
from tests.fakes import BROKEN_PID, FakeTarget, broken_target, firmware_target, guest
from tests.test_fixtures import FIXTURES

ROOT = Path(inspector.__file__).parents[1]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def mapped(words: str, target: FakeTarget | Guest | None = None) -> list[dict[str, Any]]:
    """The mappings that a command tells as JSON."""
    return [each for each in told(words, target) if "ra" in each]


def json_lines(path: str) -> list[dict[str, Any]]:
    """What a file of JSON lines holds."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def as_json(path: str) -> list[dict[str, Any]]:
    """What a file of CSV holds, as JSON would have it."""

    def value(name: str, text: str) -> Any:
        if name in ("ea", "ra", "gra", "raw_flags", "unknown_flags", "entry_address", "attribute", "region"):
            return text or None
        return {"true": True, "false": False}[text] if text in ("true", "false") else int(text)

    with open(path, newline="") as file:
        return [{name: value(name, text) for name, text in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("kind", ["demo", "pseries-p10", "powernv9"])
def test_json_lines_are_those_of_maps_and_the_others_hold_the_same(kind: str) -> None:
    with inspector.open_target(kind if kind == "demo" else str(FIXTURES / f"{kind}.core.gz")) as at:
        for name in ("a.jsonl", "a.csv", "a.parquet"):
            ask(f"export {name}", at)
        wanted = mapped("maps --all", at)
    assert json_lines("a.jsonl") == wanted
    assert as_json("a.csv") == wanted
    table = pyarrow.parquet.read_table("a.parquet").to_pylist()
    addresses = ("ea", "ra", "raw_flags", "unknown_flags")
    assert [{n: f"{v:#x}" if n in addresses else v for n, v in row.items()} for row in table] == wanted
    assert any(row["ea"] >> 63 for row in table)


def test_leaves_have_the_address_of_their_entry_too() -> None:
    ask("export a.jsonl --leaves")
    leaves = json_lines("a.jsonl")
    assert len({each.pop("entry_address") for each in leaves}) == len(leaves)
    assert leaves == mapped("maps --all --leaves")


@pytest.mark.parametrize("words", ["--pid 4", "--user --rights w", "--region ioremap --leaves", "--page 4K --leaves"])
def test_scope_and_selection_are_those_of_maps(words: str) -> None:
    ask(f"export a.jsonl {words}")
    every = "" if "--pid" in words else "--all"
    wanted = mapped(f"maps {every} {words}")
    assert [{n: v for n, v in each.items() if n != "entry_address"} for each in json_lines("a.jsonl")] == wanted
    assert 0 < len(wanted) < len(mapped("maps --all --leaves"))


def test_what_was_written_is_told() -> None:
    (result,) = ask("export a.csv")
    assert result.ok
    size = Path("a.csv").stat().st_size
    assert lines([result]) == [f"a.csv: 12 rows of csv, {size} bytes"]
    assert objects([result]) == [{"path": "a.csv", "format": "csv", "rows": 12, "file_size": size}]


def test_a_packed_file_and_a_told_format() -> None:
    ask("export a.csv.gz")
    ask("export a.txt --format csv")
    assert gzip.decompress(Path("a.csv.gz").read_bytes()) == Path("a.txt").read_bytes()


def test_a_file_that_is_there_is_not_touched_unless_forced() -> None:
    Path("a.csv").write_text("mine")
    with pytest.raises(RecordError, match="--force"):
        ask("export a.csv")
    assert Path("a.csv").read_text() == "mine"
    ask("export a.csv --force")
    assert Path("a.csv").read_text().startswith("lpid,pid,ea")
    assert os.listdir() == ["a.csv"]


def test_oddities_come_after_and_are_findings() -> None:
    first, *odd = ask("export a.csv", broken_target())
    assert first.ok
    assert [each["oddity"] for each in objects(odd)] == ["table-not-ram", "cycle", "table-size"]
    assert not any(each.ok for each in odd)
    assert str(BROKEN_PID) in {row["pid"] for row in csv.DictReader(io.StringIO(Path("a.csv").read_text()))}


def test_a_guest_without_radix_tables_writes_nothing() -> None:
    (result,) = ask("export a.csv", firmware_target())
    assert not result.ok
    assert os.listdir() == []


def test_ctrl_c_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    at = guest()

    def stop(what: str, _done: int, _total: int) -> None:
        if what == "writing mappings":
            raise KeyboardInterrupt

    at.progress = stop
    with pytest.raises(KeyboardInterrupt):
        ask("export a.parquet", at)
    assert os.listdir() == []


def test_words_that_are_wrong_are_told_before_anything_is_read() -> None:
    for words, says in (
        ("export a.txt", "--format"),
        ("export a.csv --format xlsx", "there is no format"),
        ("export a.csv --rights q", "not known"),
        ("export a.parquet.zst", "leave"),
        ("export", "name a file, or use a pipe"),
        ("export - --format nosuch", "there is no format"),
    ):
        with pytest.raises(UsageError, match=says):
            ask(words)
    assert os.listdir() == []


def test_without_pyarrow_text_is_written_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pyarrow")
    with pytest.raises(ToolMissing, match="pip install 'pyarrow>=14'"):
        ask("export a.parquet")
    assert os.listdir() == []
    ask("export a.csv --leaves")
    ask("export a.jsonl --leaves")
    assert sorted(os.listdir()) == ["a.csv", "a.jsonl"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_standard_output_takes_what_a_file_would(kind: str) -> None:
    ask(f"export a.{kind}")
    taken = io.BytesIO()

    def take() -> IO[bytes]:
        return taken

    asked = session()
    asked.stdout = take
    results = list(run(asked, ["export", "-", "--format", kind]))
    assert taken.getvalue() == Path(f"a.{kind}").read_bytes()
    assert lines(results) == [f"standard output: 12 rows of {kind}, {len(taken.getvalue())} bytes"]


def test_a_pipe_gets_rows_and_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inspector", "demo", "export"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == len(done.stdout.splitlines()) - 1 > 100
    assert done.stderr.startswith(f"standard output: {len(rows)} rows of csv")


def test_a_reader_that_stops_early_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m inspector demo export --leaves --format jsonl | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert json.loads(done.stdout)["ea"] == "0xc000000000000000"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_trees_too_large_to_keep_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    ask("export all.jsonl --leaves")
    at = guest()
    spaces = at.spaces()
    spaces.sweep.findings.counts["too-large"] = 1
    note, done = ask("export some.jsonl --leaves", at)
    assert "as the tables are read" in objects([note])[0]["note"]
    assert objects([done])[0]["rows"] == len(json_lines("all.jsonl"))
    key = "ea"
    assert sorted(json_lines("some.jsonl"), key=lambda e: (e["pid"], e[key])) == sorted(
        json_lines("all.jsonl"), key=lambda e: (e["pid"], e[key])
    )
