"""The vocabulary is that of the commands themselves, and to complete asks the target nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inspector.commands import registry
from inspector.commands.registry import Session
from inspector.guest import Guest
from inspector.moments import Moment
from inspector.radix.software_walk import VARIANTS
from inspector.ui.execute import OWN
from inspector.ui.suggest import suggest
from inspector.ui.vocabulary import grammar_of, vocabulary
from tests.fakes import guest
from tests.ui.test_toolbar import counting


class FewSymbols:
    """The one method that completion asks of a kernel image's symbols."""

    def complete(self, prefix: str, limit: int = 100) -> list[str]:
        return [name for name in ("start_kernel", "start_secondary") if name.startswith(prefix)][:limit]


def texts(line: str, at: Guest | None = None) -> list[str]:
    session = Session(at)
    return [each.text for each in suggest(line, len(line), vocabulary(lambda: session, OWN))]


def test_every_command_is_there_with_what_it_does() -> None:
    found = suggest("", 0, vocabulary(Session, OWN))
    assert [each.text for each in found] == [*registry.MODULES, *OWN]
    assert all(each.meta for each in found)


@pytest.mark.parametrize("name", registry.MODULES)
def test_every_option_of_every_command_is_there(name: str) -> None:
    usage = registry.command(name).parser().format_usage()
    offered = texts(f"{name} -")
    assert "--json" in offered
    assert [flag for flag in offered if flag != "--json" and flag not in usage] == []
    flags = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", usage))
    assert flags == set(offered) - {"--json"}


def test_walkers() -> None:
    assert texts("xlate --walker ") == ["hardware", *VARIANTS]
    assert texts("x --walker kvm@d") == ["kvm@dd1"]


def test_choices_of_argparse() -> None:
    assert texts("xlate --access ") == ["r", "w", "x"]
    assert texts("read 0 --words ") == ["1", "2", "4", "8"]


def test_registers_and_their_other_names() -> None:
    assert texts("xlate $lp") == ["$lpidr", "$lpcr", "$lpid"]
    assert texts("regs ds") == ["dsisr"]


def test_what_decode_takes() -> None:
    assert sorted(texts("decode pt")) == ["ptcr", "pte"]
    assert texts("decode pte $ns") == []
    assert texts("decode pte $ni") == ["$nip"]


def test_what_options_take_that_argparse_is_not_told() -> None:
    assert texts("maps --region vm") == ["vmalloc", "vmemmap"]
    assert texts("maps --region l") == ["'linear map'"]
    assert texts("maps --region 'linear ") == ["'linear map'"]
    assert texts("audit --rule wx-a") == ["wx-alias", "wx-alias-linear"]
    assert texts("audit --no-rule cyc") == ["cycle"]
    assert texts("dirty --attribute t") == ["tolerant"]
    assert texts("rmap 0 --page ")[:2] == ["4K", "64K"]
    assert texts("export --format ") == texts("sql --format ") == ["csv", "jsonl", "parquet"]
    assert texts("age --host-page ") == ["64K", "4K"]


def test_several_kinds_of_change() -> None:
    line = "diff --only added,re"
    found = suggest(line, len(line), vocabulary(Session, OWN))
    assert [each.text for each in found] == ["removed", "reserved"]
    assert {each.start for each in found} == {line.index("re")}
    assert "added" not in texts("diff --only added,")


def test_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "before.core").touch()
    moment = Moment.of(guest().spaces(None))
    session = Session(guest(), marks={"before": moment, "the second": moment})
    words = vocabulary(lambda: session, OWN)
    assert [each.text for each in suggest("diff b", 6, words)] == ["before", "before.core"]
    assert [each.text for each in suggest("mark --remove ", 14, words)] == ["before", "'the second'"]
    assert [each.text for each in suggest("mark t", 6, words)] == ["'the second'"]


def test_no_symbol_is_offered_for_what_is_looked_for() -> None:
    at = guest()
    at.symbols = FewSymbols()  # type: ignore[assignment]
    assert texts("xlate start", at)
    assert not texts("search text start", at)
    assert not texts("sql start", at)


def test_what_help_is_on() -> None:
    assert texts("help op") == ["operands"]
    assert texts("help re") == ["report", "regs", "read", "replay", "record", "reattach"]


def test_the_words_of_gdb_are_its_own() -> None:
    assert texts("gdb info x") == []


def test_the_repls_own_commands_take_no_words() -> None:
    assert texts("quit ") == []


def test_no_such_command() -> None:
    assert grammar_of("nonsense") is None


def test_symbols_where_there_is_an_image() -> None:
    with_symbols = guest()
    with_symbols.symbols = FewSymbols()  # type: ignore[assignment]
    assert texts("xlate start_", with_symbols) == ["start_kernel", "start_secondary"]
    assert texts("xlate start_", guest()) == []
    assert texts("xlate start_", None) == []


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("guest.core", "another", ".hidden", "-odd", "two words"):
        Path(name).touch()
    Path("folder").mkdir()
    Path("folder/inside").touch()
    assert [text for text in texts("record ") if not text.startswith("--")] == [
        "./-odd",
        "another",
        "folder/",
        "guest.core",
        "'two words'",
    ]
    assert texts("record .h") == [".hidden"]
    assert texts("record folder/i") == ["folder/inside"]
    assert texts(f"record {tmp_path}/gu") == [f"{tmp_path}/guest.core"]
    assert texts("record nowhere/x") == []
    assert texts("record 'two w") == ["'two words'"]


def test_the_target_is_not_asked() -> None:
    target = counting()
    at = guest(target)
    for line in ("", "x", "xlate ", "xlate $", "xlate s", "xlate --", "regs ", "cpu ", "decode ", "help "):
        texts(line, at)
    assert target.asked_for == []
    assert target.source.asked == []


def test_bits_and_words_of_the_life_cycle() -> None:
    assert texts("fault 0 --dsisr no") == texts("dsisr no") == ["nopte", "noexec"]
    assert texts("fault 0 --dsisr nopte|st") == ["store"]
    assert texts("dsisr 'nopte|s") == ["store"]
    assert "nopte" not in texts("dsisr nopte|")
    assert texts("slot 0:1G --flags ") == ["log", "readonly"]
    assert texts("slot 0:1G --flags log,") == ["readonly"]
    assert texts("fault 0 --host b") == ["base="]
    assert texts("fault 0 --host base=0x10000,c") == ["clean", "compound="]
    assert "base=" not in texts("fault 0 --host base=0x10000,")
