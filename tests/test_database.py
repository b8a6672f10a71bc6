"""SQL over columns: what it keeps whole, what it cannot reach, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector import database
from inspector.database import Database, named, with_hex
from inspector.errors import ToolMissing, UsageError
from inspector.mappings.table import Batch, Column, Field, numbers_of, words_of
from tests.exporting.batches import MOST, batches
from tests.exporting.missing import without

ENDLESS = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range + b.range = 7"
SMALL = Batch(
    (
        numbers_of(Field("ea", "address"), [0, 5, 1 << 63, MOST]),
        numbers_of(Field("size", "number"), [1, None, -3, 1 << 62]),
        words_of(Field("name", "word"), ["a", None, "it's", "b"]),
        Column(Field("kind", "word"), np.array([1, 0, 2, 1], np.uint8), (None, "one", "o'two")),
    )
)


@pytest.fixture
def small() -> Iterator[Database]:
    with Database({"small": SMALL}) as made:
        yield made


def answer(made: Database, query: str) -> list[tuple[Any, ...]]:
    """All rows."""
    _, pieces = made.ask(query)
    return [row for piece in pieces for row in piece.values]


@given(batches())
def test_every_value_comes_back(batch: Batch) -> None:
    with Database({"t": batch}) as made:
        fields, pieces = made.ask("SELECT * FROM t")
        assert [row for piece in pieces for row in piece.values] == list(batch.rows())
        assert fields == batch.fields


def test_64_bits_are_kept_whole(small: Database) -> None:
    fields, pieces = small.ask("SELECT ea, sum(ea) OVER () AS s, ea & 0xf000000000000000 AS top FROM small ORDER BY ea")
    assert [(field.name, field.kind) for field in fields] == [("ea", "address"), ("s", "huge"), ("top", "address")]
    whole = 5 + (1 << 63) + MOST
    rows = [row for piece in pieces for row in piece.values]
    assert rows == [(ea, whole, ea & 0xF << 60) for ea in (0, 5, 1 << 63, MOST)]


def test_literals_in_hex_are_numbers(small: Database) -> None:
    assert answer(small, "SELECT ea FROM small WHERE ea >= 0x8000000000000000 AND ea < 0xFFFF_FFFF_FFFF_FFFF") == [
        (1 << 63,)
    ]
    assert answer(small, "SELECT '0x10', 0x10 -- 0x11") == [("0x10", 16)]


@pytest.mark.parametrize(
    ("query", "same"),
    [
        ("0x0a", "10"),
        ("f(0X1F,0x2)", "f(31,2)"),
        ("'0x1' \"0x2\" -- 0x3\n/* 0x4 */ $$0x5$$ $a$0x6$a$", None),
        ("E'it\\'s 0x1' 'it''s 0x2'", None),
        ("t0x1 a.0x1 0x", None),
        ("0x8000000000000000", "CAST('9223372036854775808' AS UBIGINT)"),
    ],
)
def test_what_is_a_literal_in_hex(query: str, same: str | None) -> None:
    assert with_hex(query) == (query if same is None else same)


def test_a_literal_of_more_than_64_bits_is_told() -> None:
    with pytest.raises(UsageError, match="more than 64 bits"):
        with_hex("SELECT 0x10000000000000000")


@given(st.integers(0, MOST))
def test_hex_and_addr_are_each_other_backwards(value: int) -> None:
    with Database({}) as made:
        assert answer(made, f"SELECT hex({value:#x}), addr('{value:#x}'), addr(hex(addr({value})))") == [
            (f"{value:#x}", value, value)
        ]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM 'https://localhost/x.parquet'",
        "COPY small TO 'out.csv'",
        "ATTACH 'out.db'",
        "EXPORT DATABASE 'out'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET autoinstall_known_extensions = true",
        "RESET lock_configuration",
        "SELECT * FROM SECRET",
        "SELECT * FROM sys",
    ],
)
def test_a_query_reaches_nothing_outside(
    query: str, small: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SECRET = np.arange(3)  # noqa: F841
    monkeypatch.chdir(tmp_path)

    def refused(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    with pytest.raises(UsageError, match=r"--output FILE|'sql --schema' lists") as told:
        answer(small, query)
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_query_does_not_reach_the_network_nor_the_disk_in_the_system_s_eyes(tmp_path: Path) -> None:
    """A process of its own, of which every file that it makes and every socket that it opens is told by an audit hook
    (and what DuckDB does without Python would leave a file, for HOME is empty)."""
    code = (
        "import sys\n"
        "from inspector.database import Database\n"
        "from inspector.errors import UsageError\n"
        "seen = []\n"
        "sys.addaudithook(lambda what, _: seen.append(what) if what.startswith('socket.') else None)\n"
        "for query in ('INSTALL httpfs', 'LOAD spatial', \"SELECT * FROM 'http://127.0.0.1:9/a.csv'\",\n"
        '              "SELECT ST_Point(1, 2)", "SELECT json(\'{}\')"):\n'
        "    with Database({}) as made:\n"
        "        try:\n"
        "            made.ask(query)\n"
        "        except UsageError:\n"
        "            pass\n"
        "print(seen)\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=home,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": str(Path(database.__file__).parents[1])},
    )
    assert done.stdout == "[]\n"
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("selec", "syntax error"),
        ("SELECT nosuch FROM small", "nosuch"),
        ("SELECT * FROM nosuch", "nosuch"),
        ("SELECT ea + 1 FROM small", "Overflow"),
        ("SELECT addr('c000')", "c000"),
        ("", "there is no query"),
        ("-- nothing", "there is no query"),
        ("SELECT error('two\nlines')", "two"),
    ],
)
def test_what_is_refused_is_a_sentence_with_a_way_out(query: str, says: str, small: Database) -> None:
    with pytest.raises(UsageError, match=says) as told:
        answer(small, query)
    assert "\n" not in str(told.value)
    assert "sql" in str(told.value)
    assert answer(small, "SELECT 1") == [(1,)], "and the next is answered"


def test_columns_of_one_name_are_told_apart(small: Database) -> None:
    fields, _ = small.ask("SELECT 1 AS a, 2 AS a, 3 AS a")
    assert [field.name for field in fields] == ["a", "a_1", "a_2"]


def test_several_statements_answer_with_the_last(small: Database) -> None:
    assert answer(small, "CREATE TABLE t AS SELECT ea FROM small; SELECT count(*) FROM t") == [(4,)]


def test_many_rows_come_in_pieces(small: Database) -> None:
    _, pieces = small.ask("SELECT range FROM range(10000)")
    sizes = [len(piece) for piece in pieces]
    assert sum(sizes) == 10000
    assert max(sizes) == database.ROWS


def test_ctrl_c_ends_a_query_and_the_next_is_answered(small: Database) -> None:
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        small.ask(ENDLESS)
    timer.join(10)
    assert time.monotonic() - began < 60, "it was not waited for"
    assert answer(small, "SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("SELECT * FROM Maps", ["maps"]),
        ('FROM "leaves" JOIN maps USING (ea)', ["maps", "leaves"]),
        ("SELECT 1 AS leaves_1", []),
        ("select(maps.ea)from maps", ["maps"]),
    ],
)
def test_which_tables_a_query_may_read(query: str, names: list[str]) -> None:
    assert named(query, ("maps", "leaves", "tables")) == names


def test_without_duckdb_there_is_a_line_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "duckdb")
    with pytest.raises(ToolMissing, match=r"duckdb.* is not installed; install it with: .*pip install 'duckdb>=1.4'"):
        Database({})


def test_a_duckdb_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", SimpleNamespace(__version__="1.3.2"))
    with pytest.raises(ToolMissing, match=r"1\.3\.2 is there.*duckdb>=1\.4"):
        Database({})
