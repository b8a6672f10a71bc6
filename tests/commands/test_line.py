"""A command line is read as a shell reads it, and --json may stand anywhere in it."""

from __future__ import annotations

import pytest

from inspector.commands.line import Line, parse_line
from inspector.errors import UsageError


@pytest.mark.parametrize(
    ("text", "words", "json"),
    [
        ("xlate 0x10", ("xlate", "0x10"), False),
        ("  xlate '0x10 + 4'  # a comment\n", ("xlate", "0x10 + 4"), False),
        ("xlate --json 0", ("xlate", "0"), True),
        ("--json xlate 0", ("xlate", "0"), True),
        ("xlate 0 --json --json", ("xlate", "0"), True),
        ("gdb -- --json", ("gdb", "--", "--json"), False),
        ("--json gdb -- --json", ("gdb", "--", "--json"), True),
    ],
)
def test_words(text: str, words: tuple[str, ...], json: bool) -> None:
    assert parse_line(text) == Line(words, json)


@pytest.mark.parametrize("text", ["", " \t", "# xlate 0", "\n"])
def test_nothing(text: str) -> None:
    assert parse_line(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("xlate 'open", "a quote is not closed"),
        ("xlate 0\\", "follows the backslash"),
        ("--json", "goes with a command"),
    ],
)
def test_wrong_words(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_line(text)
    assert caught.value.exit_status == 2
