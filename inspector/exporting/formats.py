"""Which format a file is written in: by the end of its name, or as told."""

from __future__ import annotations

from typing import Literal, get_args

from inspector.errors import UsageError

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
ENDS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
"""What the names of files end in."""
PACKED = (".gz", ".zst")
"""What may follow, where the file is to be packed."""


def format_named(text: str) -> Format:
    """The format of this name. Raises UsageError."""
    for each in FORMATS:
        if text.lower() in (each, "ndjson" if each == "jsonl" else each):
            return each
    raise UsageError(f"there is no format {text!r}; there are {', '.join(FORMATS)}")


def format_for(path: str, told: str | None = None) -> Format:
    """The format of a file of this name, or the one that was told. Raises UsageError where it is neither, and for a
    packed Parquet file, which nothing reads: its columns are packed already."""
    packed = next((end for end in PACKED if path.lower().endswith(end)), "")
    plain = path[: len(path) - len(packed)].lower()
    found = format_named(told) if told is not None else None
    if found is None:
        found = next((kind for end, kind in ENDS.items() if plain.endswith(end)), None)
    if found is None:
        ends = ", ".join(ENDS)
        raise UsageError(f"{path!r} ends in none of {ends}; say which it is with --format {'|'.join(FORMATS)}")
    if found == "parquet" and packed:
        raise UsageError(f"a Parquet file packs its columns itself; leave {packed!r} out of {path!r}")
    return found
