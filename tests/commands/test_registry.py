"""The registry: what words name a command, and what is said of words that do not."""

from __future__ import annotations

import io

import pytest

from inspector.commands.registry import ABBREVIATIONS, MODULES, Session, command, parse, run
from inspector.errors import ExpressionError, NoMemory, UnknownRegister, UnknownSymbol, UsageError
from tests.commands.asking import ask, session
from tests.fakes import NIP, guest, linux_target


@pytest.mark.parametrize("name", MODULES)
def test_every_name_has_its_command(name: str) -> None:
    assert command(name).name == name


def test_short_forms_mean_commands_and_hide_none() -> None:
    assert not set(ABBREVIATIONS) & set(MODULES)
    assert {command(short).name for short in ABBREVIATIONS} <= set(MODULES)


@pytest.mark.parametrize(
    ("name", "says"),
    [("xlat", "'xlate'"), ("reg", "'regs'"), ("mpas", "'maps'"), ("zzzzzz", "'help' lists"), ("", "'help' lists")],
)
def test_an_unknown_command_names_the_nearest(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        command(name)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("xlate", "EA"),
        ("xlate 0 --nosuch", "--nosuch"),
        ("xlate 0 --access z", "--access"),
        ("ram 5", "5"),
        ("xlate 0 --pid", "--pid"),
    ],
)
def test_wrong_words_say_where_the_right_ones_are(words: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse(words.split())
    assert f"'help {words.split(maxsplit=1)[0]}'" in str(caught.value)


def test_help_after_any_command_is_help_on_it() -> None:
    for name in MODULES:
        chosen, arguments = parse([name, "--help"])
        assert (chosen.name, arguments.about) == ("help", name)


def test_operands_come_from_words_and_from_standard_input_in_order() -> None:
    at = session(stdin="0x10\n\n  $nip \n")
    assert list(at.values(["1", "-", "$nip+8"])) == [1, 0x10, NIP, NIP + 8]


def test_operands_are_taken_as_they_are_needed() -> None:
    at = session(stdin="1\n(2+\n")
    values = at.values(["-"])
    assert next(values) == 1
    with pytest.raises(ExpressionError):
        next(values)


@pytest.mark.parametrize(
    ("operand", "error"), [("$nosuch", UnknownRegister), ("$amor", UnknownRegister), ("swapper_pg_dir", UnknownSymbol)]
)
def test_names_that_mean_nothing_here(operand: str, error: type[UsageError]) -> None:
    with pytest.raises(error):
        session().value(operand)


def test_without_a_target_one_is_asked_for() -> None:
    with pytest.raises(UsageError, match="name one first"):
        list(run(Session(stdin=io.StringIO()), ["ram"]))


def test_memory_that_runs_out_ends_the_answer_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    at = guest(linux_target())

    def all_too_much(*_words: object, **_more: object) -> None:
        raise MemoryError("Unable to allocate 2.00 TiB for an array with shape (274877906944,)")

    monkeypatch.setattr(at, "spaces", all_too_much)
    with pytest.raises(NoMemory, match="ask for less of it") as raised:
        ask("maps", at)
    assert raised.value.exit_status == 3
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "words", ["maps --lpid 1 --lpid 2", "maps --nested 0:1 --nested 0:2", "xlate --pid 1 --pid=2 0"]
)
def test_a_second_value_is_refused_where_there_is_room_for_one(words: str) -> None:
    with pytest.raises(UsageError, match="it takes one value, and is given twice; leave one out; 'help"):
        parse(words.split())
    assert parse(["maps", "--pid", "1", "--pid", "2"])[1].pid == ["1", "2"]
