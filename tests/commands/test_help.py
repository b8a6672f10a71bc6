"""``help``, and that what it says is true."""

from __future__ import annotations

import pytest

from inspector.commands import registry
from inspector.commands.help import GROUPS, SUBJECTS
from inspector.errors import UsageError
from tests.commands.asking import ask, shown, told


def test_every_command_is_listed_once_under_a_head_of_its_own() -> None:
    listed = told("help")
    assert sorted(each["command"] for each in listed) == sorted(registry.MODULES)
    assert not [each["command"] for each in listed if each["group"] == "others"]
    assert {name for _, names in GROUPS for name in names} == set(registry.MODULES)


def test_the_list_says_what_needs_no_target() -> None:
    assert {each["command"] for each in told("help") if not each["needs_target"]} == registry.WITHOUT_GUEST


@pytest.mark.parametrize("name", registry.MODULES)
def test_each_command_has_a_summary_its_words_and_an_example(name: str) -> None:
    (answer,) = told(f"help {name}")
    assert answer["command"] == name
    assert answer["summary"]
    assert answer["words"].startswith("usage:")
    assert answer["examples"]
    for example in answer["examples"]:
        assert example["words"].split()[0] == name
        assert example["says"]
        assert example["words"] in shown(f"help {name}")


def test_help_by_a_short_form_and_after_a_command() -> None:
    assert told("help x") == told("help xlate") == told("xlate --help") == told("x -h") == told("? xlate")


def test_a_commands_arguments_are_explained() -> None:
    for name in registry.MODULES:
        for action in registry.command(name).parser()._actions:
            assert action.help, f"{name}: {action.dest}"


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_subjects(subject: str) -> None:
    (answer,) = told(f"help {subject}")
    assert answer["text"] in shown(f"help {subject}")


def test_the_operands_that_help_shows_are_operands() -> None:
    text = SUBJECTS["operands"]
    for operand in ("0xc000000000000000", "0b101", "0o17", "64", "64K", "2M", "$nip", "$r3", "$msr", "-8", "~0xfff"):
        assert operand in text
        assert told(f"decode ea {operand}" if operand != "-8" else "decode ea -- -8")


def test_no_such_subject_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'xlate'"):
        ask("help xlat")
