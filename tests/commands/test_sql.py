"""``sql``: questions, and how their answers look."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import inspector
from inspector.commands.sql import Found
from inspector.errors import RecordError, ToolMissing, UsageError
from inspector.mappings.table import Field, Rows
from inspector.render import show
from inspector.render.style import Style
from inspector.views import VIEWS
from tests.commands.asking import ask, lines, objects, shown, told
from tests.exporting.missing import without
from tests.fakes import PID, FakeControl, broken_target, firmware_target, guest, linux_target

PAGES = "sql 'SELECT pid, count(*) AS pages FROM leaves GROUP BY pid ORDER BY pid'"


def test_an_answer_is_a_table_and_in_json_an_object_a_row() -> None:
    assert shown(PAGES).splitlines() == ["pid  pages", "  0     36", "  4     10"]
    assert told(PAGES) == [{"pid": 0, "pages": 36}, {"pid": 4, "pages": 10}]


def test_addresses_are_hex_and_numbers_are_decimal() -> None:
    query = "sql 'SELECT ea, size, region, sum(ea) OVER () AS s FROM maps WHERE ea >= 0xc00a000080100000'"
    assert told(query) == [{"ea": "0xc00a000080100000", "size": 65536, "region": "ioremap", "s": 0xC00A_0000_8010_0000}]
    assert shown(query).splitlines()[1] == f"0xc00a000080100000  65536  ioremap  {0xC00A_0000_8010_0000}"


def test_rows_too_wide_for_a_table_are_told_name_by_name() -> None:
    text = shown(f"sql 'FROM maps WHERE pid = {PID} LIMIT 2'")
    assert text.count("lpid=0") == text.count("ea=0x") == 2
    assert max(map(len, text.splitlines())) <= 80


def test_no_rows_no_value_and_what_would_steer_a_terminal() -> None:
    assert shown("sql 'FROM maps WHERE false'") == "no rows"
    assert told("sql 'FROM maps WHERE false'") == []
    assert shown("sql 'SELECT CAST(NULL AS BIGINT) AS a, true AS b'").splitlines() == ["   a     b", "NULL  true"]
    assert "\x1b" not in shown("sql \"SELECT chr(27) || '[2J' AS a\"")
    assert shown('sql "SELECT chr(10) AS a"').splitlines()[1] == "\\x0a"


def test_a_plan_is_a_picture() -> None:
    text = shown("sql 'EXPLAIN FROM maps WHERE write'")
    assert len(text.splitlines()) > 3
    assert "\\x0a" not in text


def test_words_need_no_quotes_where_the_query_has_none() -> None:
    assert told("sql SELECT count(*) AS n FROM pids") == [{"n": 2}]


def test_a_query_from_standard_input() -> None:
    assert told("sql -", stdin="SELECT count(*) AS n\nFROM pids -- all\n") == [{"n": 2}]


def test_the_schema_is_told() -> None:
    for words in ("sql", "sql --schema"):
        found = told(words)
        assert [each["table"] for each in found if "table" in each] == list(VIEWS)
        assert [each["function"] for each in found if "function" in each] == ["hex(x)", "addr(x)"]
    assert "  lpid BIGINT, pid BIGINT, ea UBIGINT" in shown("sql --schema")


@pytest.mark.parametrize("query", ["show tables", "SHOW  ALL TABLES;"])
def test_the_tables_are_shown_whatever_a_query_named(query: str) -> None:
    assert told(f"sql '{query}'") == told("sql --schema")


def test_a_format_is_of_a_file() -> None:
    for option in ("--format csv", "--force"):
        with pytest.raises(UsageError, match="name it with --output FILE"):
            ask(f"sql 'FROM ram' {option}")


def test_registers_of_a_guest_that_runs_are_not_known() -> None:
    target = linux_target()
    FakeControl(target).resume()
    note, answer = ask("sql 'SELECT count(*) AS n FROM registers'", target)
    assert note.ok
    assert objects([answer]) == [{"n": 0}]
    assert "not known while the guest runs" in lines([note])[0]


def test_one_process_alone() -> None:
    assert told(f"sql --pid {PID} 'SELECT DISTINCT pid FROM leaves'") == [{"pid": PID}]


def test_tables_are_read_only_for_a_query_that_needs_them() -> None:
    at = guest()
    at.spaces = None  # type: ignore[assignment, method-assign]
    assert told("sql 'SELECT count(*) AS n FROM ram'", at) == [{"n": 2}]
    assert told("sql 'SELECT 1 AS one'", firmware_target()) == [{"one": 1}]
    (roots,) = ask("sql 'FROM maps'", firmware_target())
    assert not roots.ok


def test_what_is_wrong_with_the_trees_comes_after() -> None:
    first, *odd = ask("sql 'SELECT count(*) AS n FROM findings'", broken_target())
    assert first.ok
    assert {each["oddity"] for each in objects(odd)} == {"table-not-ram", "cycle", "table-size"}
    assert len(ask("sql 'FROM ram'", broken_target())) == 1


def test_maps_alone_tell_of_the_trees_what_their_ranges_do(monkeypatch: pytest.MonkeyPatch) -> None:
    at = guest(broken_target())
    gathered = at.spaces().gathered()
    monkeypatch.setattr(at.spaces(), "_gathered", replace(gathered, cut=True))
    _, cut, *odd = told("sql 'SELECT count(*) FROM maps'", at)
    assert "more ranges than can be kept" in cut["unfinished"]
    assert len(odd) == 3


def test_an_answer_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    query = "'SELECT ea, region, sum(size) AS bytes FROM leaves GROUP BY ALL ORDER BY ea'"
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        (result,) = ask(f"sql {query} --output {name}")
        assert objects([result])[0]["rows"] == 46
    wanted = told(f"sql {query}")
    assert [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()] == wanted
    table = pyarrow.parquet.read_table("a.parquet").to_pylist()
    assert [{**row, "ea": f"{row['ea']:#x}", "bytes": int(row["bytes"])} for row in table] == wanted
    assert Path("a.csv").read_text().splitlines()[1] == "0x10000000,user,65536"
    with pytest.raises(RecordError, match="--force"):
        ask(f"sql {query} --output a.csv")
    with pytest.raises(UsageError, match="nosuch"):
        ask("sql 'SELECT nosuch FROM maps' --output b.csv")
    assert sorted(os.listdir()) == ["a.csv", "a.jsonl", "a.parquet"]


def test_a_query_that_is_refused_is_told() -> None:
    with pytest.raises(UsageError, match="'sql --schema' lists"):
        ask("sql 'SELECT nosuch FROM maps'")
    with pytest.raises(UsageError, match="no file and no network"):
        ask("sql \"COPY maps TO 'x.csv'\"")


def test_without_duckdb_there_is_a_line_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "duckdb")
    with pytest.raises(ToolMissing, match=r"pip install 'duckdb>=1\.4'"):
        ask("sql 'FROM maps'")
    assert told("sql --schema"), "the schema is told all the same"


def test_without_pyarrow_sql_answers_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pyarrow")
    without(monkeypatch, "pandas")
    assert told(PAGES) == [{"pid": 0, "pages": 36}, {"pid": 4, "pages": 10}]


def test_the_guest_that_ships_answers_as_numpy_does() -> None:
    with inspector.open_target("demo") as demo:
        columns = demo.spaces().columns
        answered = told("sql 'SELECT pid, count(*) AS n, sum(size) AS s FROM leaves GROUP BY pid ORDER BY pid'", demo)
        pids, counts = np.unique(columns.pid, return_counts=True)
        sizes = [int(columns.size[columns.pid == pid].sum()) for pid in pids]
    assert answered == [
        {"pid": p, "n": n, "s": s} for p, n, s in zip(pids.tolist(), counts.tolist(), sizes, strict=True)
    ]


def test_long_text_is_broken_and_the_head_is_as_wide_as_the_widest() -> None:
    fields = (Field("reason", "word"), Field("n", "number"))
    wide = Found(Rows(fields, [("a sentence that goes on " * 6, 1)]))
    assert max(len(line) for line in show.text(wide, Style())) <= 80
    narrow = Found(Rows(fields, [("x", 1), ("xyz", 1 << 40)]))
    assert lines([narrow]) == ["reason              n", "x                   1", "xyz     1099511627776"]
