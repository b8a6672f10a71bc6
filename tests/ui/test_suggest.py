"""Completion is a function of text, cursor and vocabulary; none of this needs a terminal or a target."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.ui.suggest import MOST, Argument, Grammar, Option, Suggestion, Vocabulary, split, suggest

SYMBOLS = [".hidden", "init_task", "init_mm", "process_tb", "start_kernel", "start_thread"]
FILES = ["a plain name", "folder/", "kernel.core", "it's"]
EA = Argument("expression")
GRAMMARS = {
    "xlate": Grammar(
        (
            Option(("--json",), "JSON"),
            Option(("--pid",), "another process", EA),
            Option(("--access",), "may it", Argument("choice", {"r": "", "w": "", "x": ""})),
            Option(("--walker",), "who walks", Argument("choice", {"hardware": "", "kvm": "", "kvm@dd1": ""})),
            Option(("--guest-real",), "a real address"),
        ),
        (EA,),
        more=True,
    ),
    "record": Grammar(
        (Option(("--also",), "more", Argument("nothing"), repeatable=True), Option(("--force", "-f"), "over it")),
        (Argument("file"),),
    ),
    "regs": Grammar((), (Argument("register"),), more=True),
    "help": Grammar((), (Argument("command"),)),
    "read": Grammar((), (EA, Argument("choice", {"be": "", "le": ""}))),
}


def _symbols(prefix: str, limit: int) -> Iterator[str]:
    return iter([name for name in SYMBOLS if name.startswith(prefix)][:limit])


VOCABULARY = Vocabulary(
    commands=lambda: {name: f"what {name} does" for name in GRAMMARS},
    grammar=GRAMMARS.get,
    registers={"nip": "next", "r1": "", "r10": "", "msr": "machine state", "pc": "another name of nip"},
    symbols=_symbols,
    files=lambda prefix: [name for name in FILES if name.startswith(prefix)],
)


def texts(line: str) -> list[str]:
    """What is suggested at ``|``."""
    cursor = line.index("|")
    return [each.text for each in suggest(line.replace("|", "", 1), cursor, VOCABULARY)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("|", ["xlate", "record", "regs", "help", "read"]),
        ("re|", ["record", "regs", "read"]),
        ("  re|", ["record", "regs", "read"]),
        ("re|g", ["record", "regs", "read"]),
        ("nonsense |", []),
        ("help x|", ["xlate"]),
        # options
        ("xlate -|", ["--json", "--pid", "--access", "--walker", "--guest-real"]),
        ("xlate --pid 4 --p|", []),
        ("xlate --pid 4 -|", ["--json", "--access", "--walker", "--guest-real"]),
        ("xlate --pid=4 --p|", []),
        ("record --also 0:1 --a|", ["--also"]),
        ("record x --f|", ["--force"]),
        ("record x -|", ["--also", "--force", "-f"]),
        ("record --force -|", ["--also"]),
        ("xlate -- --w|", []),
        ("xlate -- -start_k|", ["start_kernel"]),
        # values of options
        ("xlate --access |", ["r", "w", "x"]),
        ("xlate --access=|", ["r", "w", "x"]),
        ("xlate --acc |", ["r", "w", "x"]),
        ("xlate --walker kvm|", ["kvm", "kvm@dd1"]),
        ("xlate --walker=kvm@|", ["kvm@dd1"]),
        ("xlate --walk=kvm@|", ["kvm@dd1"]),
        ("xlate --guest-real=|", []),
        ("record --also |", []),
        ("xlate --pid $m|", ["$msr"]),
        # registers
        ("xlate $|", ["$nip", "$r1", "$r10", "$msr", "$pc"]),
        ("xlate $r1|", ["$r1", "$r10"]),
        ("xlate $NI|", ["$nip"]),
        ("xlate $r1+$n|", ["$nip"]),
        ("xlate ($n|", ["$nip"]),
        ("xlate '$r1 + $n|", ["$nip"]),
        ("regs n|", ["nip"]),
        ("regs nip m|", ["msr"]),
        ("regs $m|", ["$msr"]),
        # symbols
        ("xlate start_|", ["start_kernel", "start_thread"]),
        ("xlate init_task+start_k|", ["start_kernel"]),
        ("xlate 8*init_m|", ["init_mm"]),
        ("xlate .h|", [".hidden"]),
        ("xlate 0x10start_k|", []),
        ("xlate 5|", []),
        ("xlate init_task |", ["--json", "--pid", "--access", "--walker", "--guest-real"]),
        # operands one after another
        ("xlate 0 1 2 start_k|", ["start_kernel"]),
        ("read 0 |", ["be", "le"]),
        ("read 0 be |", []),
        # files
        ("record |", ["'a plain name'", "folder/", "kernel.core", "'it'\"'\"'s'", "--also", "--force", "-f"]),
        ("record k|", ["kernel.core"]),
        ("record 'a pl|", ["'a plain name'"]),
        ("record a\\ pl|", ["'a plain name'"]),
        # comments, and lines pasted together
        ("# re|", []),
        ("xlate 0 # --|", []),
        ("xlate '#' --gu|", ["--guest-real"]),
        ("record x\nre|", ["record", "regs", "read"]),
        ("xlate 'open\nre|", ["record", "regs", "read"]),
    ],
)
def test_what_is_suggested(line: str, expected: list[str]) -> None:
    assert texts(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("xl", Suggestion("xlate", 0, "what xlate does")),
        ("  xl", Suggestion("xlate", 2, "what xlate does")),
        ("xlate $n", Suggestion("$nip", 6, "next")),
        ("xlate 1+$n", Suggestion("$nip", 8, "next")),
        ("xlate --access=w", Suggestion("w", 15)),
        ("xlate start_k", Suggestion("start_kernel", 6, "symbol")),
        ("record 'a pl", Suggestion("'a plain name'", 7)),
        ("record fol", Suggestion("folder/", 7, "folder")),
        ("read 0\n  reg", Suggestion("regs", 9, "what regs does")),
    ],
)
def test_what_a_suggestion_replaces(line: str, expected: Suggestion) -> None:
    assert suggest(line, len(line), VOCABULARY) == [expected]


def test_no_more_are_given_than_anyone_reads() -> None:
    many = Vocabulary(
        commands=lambda: {},
        grammar=GRAMMARS.get,
        registers={},
        symbols=lambda prefix, limit: (f"{prefix}{n}" for n in range(10**9)),
        files=lambda prefix: [],
    )
    assert len(suggest("xlate s", 7, many)) == MOST


# A line is made of these: what the words of a shell turn on, and what the vocabulary knows.
PIECES = st.sampled_from(
    [
        *" \t'\"\\#$-=+()\néx",
        *("xlate", "record", "regs", "read", "--", "--pid", "--access", "--walker"),
        *("kvm", "$n", "init", "fo", "0x1f", "a plain"),
    ]
)
LINES = st.lists(PIECES, max_size=12).map("".join)


@given(LINES)
def test_words_are_split_as_the_line_will_be_read(line: str) -> None:
    """Held against shlex, which reads the line in the end: for every line that it takes."""
    try:
        expected = shlex.split(line, comments=True)
    except ValueError:
        return
    words, current = split(line)
    found = [word.text for word in words]
    # A word at the very end is the one in the making; '' is one in the making unless it was written with quotes.
    if current is not None and (current.text or len(expected) > len(words)):
        found.append(current.text)
    assert found == expected


@given(LINES, st.data())
def test_a_suggestion_can_be_taken(line: str, data: st.DataObject) -> None:
    """Wherever the cursor is: it replaces text before the cursor, on its line, and is then what the word ends in."""
    cursor = data.draw(st.integers(0, len(line)))
    for each in suggest(line, cursor, VOCABULARY):
        assert line.rfind("\n", 0, cursor) < each.start <= cursor
        taken = line[line.rfind("\n", 0, cursor) + 1 : each.start] + each.text
        _, current = split(taken)
        assert current is not None
        assert current.text.endswith(shlex.split(each.text)[0])


@given(LINES, st.text(max_size=5))
def test_what_is_behind_the_cursor_plays_no_part(line: str, behind: str) -> None:
    assert suggest(line, len(line), VOCABULARY) == suggest(line + behind, len(line), VOCABULARY)
