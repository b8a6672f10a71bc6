"""The command line end to end, on a flat image of a small guest: words, exit statuses, errors of one sentence."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any, Protocol

import pytest

import inspector
from inspector.cli import main, split
from inspector.errors import UsageError
from tests.fakes import BANNER, BANNER_AT, KERNEL, NIP, PID, USER_DATA_EA, USER_PAGES_AT
from tests.flatimage import flat_image

UNMAPPED = "0xc000000004000000"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return flat_image(tmp_path_factory.mktemp("image"))


class Said:
    """What a run of the command line gave."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


class Runner(Protocol):
    """Runs the command line in this process."""

    def __call__(self, *arguments: str, stdin: str = "") -> Said: ...


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Runs the command line in this process."""

    def running(*arguments: str, stdin: str = "") -> Said:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        status = main(arguments)
        return Said(status, *capsys.readouterr())

    return running


# -- exit statuses and errors ------------------------------------------------------------------------------------------


def test_0_is_answered(run: Runner, image: list[str]) -> None:
    said = run(*image, "xlate", "0xc000000000000000", "--json")
    assert (said.status, said.err) == (0, "")
    assert (said.objects[0]["status"], said.objects[0]["ra"]) == ("ok", "0x0")


def test_1_is_answered_with_a_fault_or_a_finding(run: Runner, image: list[str]) -> None:
    said = run(*image, "xlate", UNMAPPED, "0xc000000000000000", "--json")
    assert (said.status, said.err) == (1, "")
    assert [each["status"] for each in said.objects] == ["fault", "ok"]
    assert run(*image, "maps", "--pid", "3").status == 1
    assert run(*image, "read", UNMAPPED).status == 1


WRONG_WORDS = [
    ((), "xlat 0", "did you mean 'xlate'"),
    ((), "xlate", "'help xlate'"),
    ((), "xlate 0x10000000000000000", "65 bits"),
    ((), "xlate 0x10+", "ends early"),
    ((), "xlate $nosuch", "'regs' lists"),
    ((), "xlate nosuchsymbol", "--vmlinux"),
    ((), "xlate 0 --walker nosuch", "walker"),
    ((), "xlate 0 --access z", "--access"),
    ((), "read 0 --cpu", "wants a value after it"),
    ((), "cpu 9", "there is no vCPU 9"),
    (("--cpu", "9"), "cpu", "there is no vCPU 9"),
    (("--cpu", "zero"), "cpu", "--cpu"),
    (("--process-table", "$r3"), "roots", "before the target is open"),
    (("--set", "nosuch=1"), "regs", "nosuch"),
    (("--set", "pid"), "regs", "REG=VALUE"),
    (("--set", "pid=4+"), "regs", "--set pid"),
    (("--color", "blue"), "regs", "--color takes"),
    (("-c", "regs"), "regs", "leave one of them out"),
    (("--ram", "x"), "regs", "gdb:"),
    (("--source", "gdb"), "regs", "gdb:"),
    (("-f", "/nosuch/script"), "", "cannot be read as a script"),
]


@pytest.mark.parametrize(("options", "words", "says"), WRONG_WORDS, ids=[" ".join(w[0]) + w[1] for w in WRONG_WORDS])
def test_2_is_wrong_words_in_one_sentence(
    run: Runner, image: list[str], options: tuple[str, ...], words: str, says: str
) -> None:
    said = run(*image, *options, *words.split())
    assert (said.status, said.out) == (2, "")
    assert says in said.err
    assert said.err.startswith("inspector: ")
    assert said.err.count("\n") == 1, "one sentence"
    assert "Traceback" not in said.err


NO_TARGETS = [
    ("/nosuch/file", "regs", "/nosuch/file"),
    ("raw:/nosuch/file", "regs", "/nosuch/file"),
    ("gdb:127.0.0.1:1", "regs", "127.0.0.1"),
    (__file__, "regs", "test_cli.py"),
    (os.path.dirname(__file__), "regs", "tests"),
]


@pytest.mark.parametrize(("target", "words", "says"), NO_TARGETS)
def test_3_is_a_target_that_cannot_be_read(run: Runner, target: str, words: str, says: str) -> None:
    said = run(target, *words.split())
    assert (said.status, said.out) == (3, "")
    assert says in said.err
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err


def test_a_command_where_the_target_stands_is_told(run: Runner) -> None:
    said = run("xlate", "0")
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert "inspector demo xlate 0" in said.err
    assert "'xlate'" in run("xlat", "0").err


def test_a_snapshot_cannot_run(run: Runner, image: list[str]) -> None:
    said = run(*image, "continue")
    assert said.status == 3
    assert "cannot run" in said.err


# -- words in any order ------------------------------------------------------------------------------------------------


def test_options_stand_before_or_after_the_command(run: Runner, image: list[str]) -> None:
    target, *options = image
    orders = [
        [target, *options, "--json", "--cpu", "1", "regs", "nip", "pid"],
        [target, "regs", "nip", "pid", *options, "--json", "--cpu", "1"],
        ["--json", *options, target, "regs", "--cpu=1", "nip", "pid"],
        [*options, "--cpu", "1", target, "regs", "nip", "--json", "pid"],
    ]
    said = [run(*order) for order in orders]
    assert {each.status for each in said} == {0}
    assert {each.out for each in said} == {said[0].out}
    assert said[0].objects == [{"cpu": 1, "registers": {"nip": "0x10000100", "pid": "0x4"}}]


def test_registers_are_set_by_hand(run: Runner, image: list[str]) -> None:
    said = run(*image, "--set", "pid=0x3+2", "regs", "pid", "amor", "--set", "AMOR=0", "--json")
    assert said.objects[0]["registers"] == {"pid": "0x5", "amor": "0x0"}


def test_several_raw_images(run: Runner, image: list[str], tmp_path: Path) -> None:
    (tmp_path / "more").write_bytes(b"more of it")
    said = run(image[0], f"raw:{tmp_path}/more@0x40000000", *image[1:], "read", "0x40000000", "10", "--real", "--json")
    assert said.objects[0]["data"] == b"more of it".hex()


@pytest.mark.parametrize(
    ("arguments", "targets", "command"),
    [
        (["demo"], ["demo"], []),
        (["demo", "xlate", "0"], ["demo"], ["xlate", "0"]),
        (["raw:a", "raw:b@0x10", "ram"], ["raw:a", "raw:b@0x10"], ["ram"]),
        (["rmmu"], [], ["rmmu"]),
        (["--json", "help", "maps"], [], ["help", "maps"]),
        (["demo", "read", "-", "-8"], ["demo"], ["read", "-", "-8"]),
        (["demo", "maps", "--help"], ["demo"], ["maps", "--help"]),
    ],
)
def test_the_parts_of_a_command_line(arguments: list[str], targets: list[str], command: list[str]) -> None:
    words = split(arguments)
    assert (words.targets, words.command) == (targets, command)


def test_an_option_without_its_value() -> None:
    for option in ("--vmlinux", "--cpu", "-c", "-f", "--ram"):
        with pytest.raises(UsageError, match="wants a value"):
            split(["demo", option])


# -- several commands --------------------------------------------------------------------------------------------------


def test_commands_with_c_in_order_and_the_worst_status(run: Runner, image: list[str]) -> None:
    said = run(*image, "-c", "cpu 1", "-c", f"xlate {UNMAPPED}", "-c", "regs nip", "--json")
    assert said.status == 1
    assert [each.get("cpu") for each in said.objects] == [1, None, 1], "the chosen vCPU stays chosen"


def test_a_script_with_comments_and_an_error_goes_on(run: Runner, image: list[str], tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("# what is there\n\nregs nip   # here\nnosuch\nread 'unclosed\nxlate --json $nip\n")
    said = run(*image, "-f", str(script), "-c", "ram")
    assert said.status == 2
    assert said.err.count("\n") == 2
    assert f"inspector: {script}:4: there is no command 'nosuch'" in said.err
    assert f"inspector: {script}:5: " in said.err
    assert "a quote is not closed" in said.err
    assert f"{NIP:016x}" in said.out
    assert '"status": "ok"' in said.out
    assert "of RAM in 1 range" in said.out


def test_commands_from_standard_input(run: Runner, image: list[str]) -> None:
    said = run(*image, "--json", stdin="regs nip\nram\n")
    assert [sorted(each)[0] for each in said.objects] == ["cpu", "captured"]


def test_a_script_ends_with_quit_and_may_be_standard_input(run: Runner, image: list[str]) -> None:
    for words in ((), ("-f", "-")):
        said = run(*image, *words, stdin="regs nip\nquit\nnosuch\n")
        assert (said.status, said.err) == (0, "")
        assert f"{NIP:016x}" in said.out


@pytest.mark.parametrize("what", ["nowhere", ".", "binary"])
def test_what_is_no_script_is_told(run: Runner, image: list[str], tmp_path: Path, what: str) -> None:
    (tmp_path / "binary").write_bytes(b"\x80\xff")
    said = run(*image, "-f", str(tmp_path / what))
    assert said.status == 2
    assert "Errno" not in said.err
    assert said.err.endswith("; name another\n")


def test_operands_from_standard_input_in_order(run: Runner, image: list[str]) -> None:
    said = run(*image, "xlate", "0xc000000000000000", "-", "$nip", "--json", stdin=f"{UNMAPPED}\n\n $nip + 4\n")
    assert said.status == 1
    assert [each["ea"] for each in said.objects] == ["0xc000000000000000", UNMAPPED, f"{NIP + 4:#x}", f"{NIP:#x}"]


def test_a_wrong_operand_among_words_ends_the_command_after_what_came_before(run: Runner, image: list[str]) -> None:
    said = run(*image, "xlate", "0xc000000000000000", "0x10000000000000000", "$nip", "--json")
    assert said.status == 2
    assert [each["ea"] for each in said.objects] == ["0xc000000000000000"]
    assert "65 bits" in said.err


def test_a_wrong_operand_on_standard_input_is_told_with_its_line_and_the_next_goes_on(
    run: Runner, image: list[str]
) -> None:
    said = run(*image, "xlate", "-", "--json", stdin="0xc000000000000000\n\n0x10000000000000000\n$nip\n")
    assert said.status == 2
    assert [each["ea"] for each in said.objects] == ["0xc000000000000000", f"{NIP:#x}"]
    assert said.err.startswith("inspector: standard input:3: ")
    assert "65 bits" in said.err
    assert said.err.count("\n") == 1


# -- what needs no target ----------------------------------------------------------------------------------------------


def test_usage(run: Runner) -> None:
    for words, status in ((("--help",), 0), (("-h",), 0), (("demo", "--help"), 0), ((), 2), (("--json",), 2)):
        said = run(*words)
        assert said.status == status
        usage, other = (said.err, said.out) if status else (said.out, said.err)
        assert usage.startswith("usage: inspector TARGET")
        assert other == ""
        assert max(map(len, usage.splitlines())) <= 80


def test_the_version(run: Runner) -> None:
    assert run("--version").out == f"inspector {inspector.__version__}\n"


def test_an_option_that_is_not_there(run: Runner) -> None:
    said = run("--nosuch", "demo", "regs")
    assert (said.status, said.out) == (2, "")
    assert "'--nosuch' is not among the options" in said.err


def test_scripts_without_a_target(run: Runner) -> None:
    said = run("-c", "decode pte 0xc00000000000018d --json", "-c", "regs")
    assert said.status == 2
    assert said.objects[0]["kind"] == "pte"
    assert "needs a target" in said.err


def test_commands_that_need_no_target(run: Runner) -> None:
    assert run("rmmu", "--json").objects[0]["ap_encodings"][0] == "0x0000000c"
    assert run("decode", "pte", "0xc00000000000018d", "--json").objects[0]["kind"] == "pte"
    assert run("help", "xlate").status == 0
    assert run("xlate", "--help").out == run("help", "xlate").out
    said = run("decode", "$msr")
    assert (said.status, "needs a target" in said.err) == (2, True)


def test_colour_is_for_who_asks(run: Runner, image: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" not in run(*image, "regs").out
    assert "\x1b[" in run(*image, "regs", "--color", "always").out
    assert "\x1b[" not in run(*image, "regs", "--json", "--color", "always").out


def test_the_whole_image_is_the_fake_guest(run: Runner, image: list[str]) -> None:
    said = run(*image, "read", f"{BANNER_AT:#x}", str(len(BANNER)), "--json")
    assert bytes.fromhex(said.objects[0]["data"]) == BANNER
    said = run(*image, "xlate", f"{USER_DATA_EA:#x}", "--pid", str(PID), "--json")
    assert said.objects[0]["ra"] == f"{USER_PAGES_AT + 0x1_0000:#x}"
    said = run(*image, "xlate", f"{KERNEL:#x}", "--json")
    assert said.objects[0]["ra"] == "0x0"


def test_a_sentence_cannot_steer_the_terminal(run: Runner, tmp_path: Path) -> None:
    """The name of a file may come from a stranger, as what is in it does."""
    evil = tmp_path / "a\x1b[2Jb"
    evil.write_bytes(b"no snapshot")
    said = run(str(evil), "info")
    assert said.status == 3
    assert "\x1b" not in said.err
    assert "a\\x1b[2Jb" in said.err
