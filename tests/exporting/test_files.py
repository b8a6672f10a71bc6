"""Which format, which file, and that it is there whole or not at all."""

from __future__ import annotations

import gc
import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from inspector.errors import RecordError, UsageError
from inspector.exporting.files import write_file
from inspector.exporting.formats import format_for, format_named
from inspector.mappings.table import Field, Rows

FIELDS = (Field("ea", "address"),)
ROWS = Rows(FIELDS, [(1 << 63,), (5,)])
CSV = "ea\n0x8000000000000000\n0x5\n"


@pytest.mark.parametrize(
    ("path", "told", "kind"),
    [
        ("a.csv", None, "csv"),
        ("A.CSV", None, "csv"),
        ("a.jsonl", None, "jsonl"),
        ("a.ndjson.zst", None, "jsonl"),
        ("dir.csv/a.jsonl.gz", None, "jsonl"),
        ("a.parquet", None, "parquet"),
        ("a.txt", "csv", "csv"),
        ("a.csv", "PARQUET", "parquet"),
        ("a", "ndjson", "jsonl"),
    ],
)
def test_the_end_of_a_name_says_the_format(path: str, told: str | None, kind: str) -> None:
    assert format_for(path, told) == kind


@pytest.mark.parametrize("path", ["a", "a.json", "csv", "a.gz", "a.csv.xz"])
def test_another_end_says_nothing(path: str) -> None:
    with pytest.raises(UsageError, match=r"--format csv\|jsonl\|parquet"):
        format_for(path)


def test_what_is_no_format_is_told() -> None:
    with pytest.raises(UsageError, match="there are csv, jsonl, parquet"):
        format_named("xlsx")
    with pytest.raises(UsageError, match=r"leave '\.gz' out"):
        format_for("a.parquet.gz")


def test_a_file_is_packed_by_its_name(tmp_path: Path) -> None:
    for name in ("a.csv", "a.csv.gz", "a.csv.zst"):
        done = write_file(str(tmp_path / name), "csv", FIELDS, [ROWS])
        assert (done.rows, done.file_size) == (2, (tmp_path / name).stat().st_size)
    assert (tmp_path / "a.csv").read_text() == CSV
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).decode() == CSV
    assert zstandard.ZstdDecompressor().stream_reader((tmp_path / "a.csv.zst").read_bytes()).read().decode() == CSV


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("mine")
    with pytest.raises(RecordError, match="--force"):
        write_file(str(path), "csv", FIELDS, [ROWS])
    assert path.read_text() == "mine"
    write_file(str(path), "csv", FIELDS, [ROWS], force=True)
    assert path.read_text() == CSV


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_what_ends_early_leaves_nothing(kind: str, tmp_path: Path) -> None:
    def pieces() -> Iterator[Rows]:
        yield ROWS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(str(tmp_path / "x"), format_named(kind), FIELDS, pieces())
    gc.collect()  # what a writer does when it is let go of must not go into some other file
    assert list(tmp_path.iterdir()) == []
