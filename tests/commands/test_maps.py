"""``maps``: every page that a walk finds is in one run, and nothing else is."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.commands.scope import ODDITIES_TOLD
from inspector.errors import UsageError
from inspector.mappings import runs as runs_module
from inspector.mappings.runs import Run
from inspector.radix.columns import Limits
from tests.commands.asking import ask, lines, shown, told
from tests.fakes import (
    BROKEN_EA,
    BROKEN_PID,
    DATA,
    IO,
    KERNEL,
    PID,
    PROCESS_TABLE_AT,
    SMALL_PAGES_EA,
    STACK_EA,
    TIMA,
    USER_DATA_EA,
    USER_PAGES_AT,
    USER_TEXT_EA,
    FakeTarget,
    MiB,
    bare_target,
    broken_target,
    guest,
    linux_target,
)
from tests.radix.trees import Bump, Tree

FIXTURES = Path(__file__).parents[2] / "fixtures"
OFFSET = (1 << 62) - 1
FIELDS = {
    *("lpid", "pid", "ea", "size", "ra", "page_shift", "count", "read", "write", "execute"),
    *("privileged", "accessed", "dirty", "attribute", "raw_flags"),
}
"""The contract."""


def runs(words: str, target: FakeTarget | None = None) -> list[tuple[int, str, int, int, str]]:
    """(pid, ea, size, page shift, ra) of each run."""
    return [
        (each["pid"], each["ea"], each["size"], each["page_shift"], each["ra"])
        for each in told(words, target)
        if "ra" in each
    ]


def test_the_kernel_and_the_process_that_runs() -> None:
    assert runs("maps") == [
        (0, f"{KERNEL:#x}", 32 * MiB, 21, "0x0"),
        (0, f"{KERNEL + 32 * MiB:#x}", 32 * MiB, 21, "0x2000000"),
        (0, f"{IO:#x}", 0x1_0000, 16, f"{TIMA:#x}"),
        (0, f"{IO + 0x2_0000:#x}", 0x1_0000, 16, "0x210000000000"),
        (0, f"{IO + 0x4_0000:#x}", 0x1_0000, 16, "0x210000000000"),
        (0, f"{IO + 0x10_0000:#x}", 0x1_0000, 16, "0x200080010000"),
        (PID, f"{USER_TEXT_EA:#x}", 0x1_0000, 16, f"{USER_PAGES_AT:#x}"),
        (PID, f"{USER_DATA_EA:#x}", 0x3_0000, 16, f"{USER_PAGES_AT + 0x1_0000:#x}"),
        (PID, f"{USER_DATA_EA + 0x3_0000:#x}", 0x1_0000, 16, f"{USER_PAGES_AT + 8 * MiB:#x}"),
        (PID, f"{SMALL_PAGES_EA:#x}", 0x2000, 12, f"{USER_PAGES_AT + MiB:#x}"),
        (PID, f"{SMALL_PAGES_EA + 0x2000:#x}", 0x2000, 12, f"{USER_PAGES_AT + MiB + 0x2000:#x}"),
        (PID, f"{STACK_EA:#x}", 0x1_0000, 16, f"{USER_PAGES_AT + 2 * MiB:#x}"),
    ]


def test_an_object_holds_what_the_contract_says() -> None:
    text, data, device, *_ = told("maps --pid 0")
    assert all(set(each) >= FIELDS for each in (text, data, device))
    wanted = {
        "lpid": 0,
        "pid": 0,
        "ea": "0xc000000000000000",
        "size": 0x200_0000,
        "ra": "0x0",
        "page_shift": 21,
        "count": 16,
        "read": True,
        "write": False,
        "execute": True,
        "privileged": True,
        "accessed": True,
        "dirty": True,
        "attribute": "normal",
        "raw_flags": "0xc00000000000018d",
    }
    assert text == text | wanted
    assert (device["attribute"], device["ra_is_ram"]) == ("non-idempotent", False)
    assert (data["read"], data["write"], data["execute"]) == (True, True, False)


@pytest.mark.parametrize("make", [linux_target, bare_target])
def test_every_page_translates_as_it_says(make: Any) -> None:
    """Against the hardware's walk, which reads the tables by itself."""
    target = make()
    at = guest(target)
    leaves = 0
    for each in told("maps --all", target):
        size = 1 << each["page_shift"]
        for n in range(each["count"]):
            ea, ra = int(each["ea"], 16) + n * size, int(each["ra"], 16) + n * size
            answer = at.translate(ea + size - 1, pid=each["pid"])
            assert (answer.ra, answer.page_shift) == (ra + size - 1, each["page_shift"])
            leaves += 1
    assert leaves == 32 + 4 + 10


@pytest.mark.parametrize("kind", ["pseries-p9", "pseries-p10", "powernv9"])
def test_a_real_guests_maps_hold_every_address_that_qemu_translated(kind: str) -> None:
    """QEMU's monitor answered these when the guest was recorded; where it said nowhere, the rights may be to blame."""
    with inspector.open_target(str(FIXTURES / f"{kind}.core.gz")) as at:
        mapped = [each for each in told("maps --all", at) if "ra" in each]
        pids = {cpu: at.registers(cpu).need("pid") for cpu in at.target.cpus}
    answered = 0
    with gzip.open(FIXTURES / f"{kind}.oracle.gz", "rt") as oracle:
        for line in oracle:
            cpu, address, said = line.split()
            ea = int(address, 16)
            if said == "-":
                continue
            answered += 1
            # A hypervisor reaches its own trees through quadrants 1 and 2 too, as long as LPIDR is 0.
            pid, offset = (0 if ea >> 63 else pids[int(cpu)]), ea & OFFSET
            (inside,) = (
                (run, offset - begin)
                for run in mapped
                if run["pid"] == pid and (begin := int(run["ea"], 16) & OFFSET) <= offset < begin + run["size"]
            )
            assert int(inside[0]["ra"], 16) + inside[1] == int(said, 16)
    assert answered > 100


def test_leaf_by_leaf_is_the_same_in_pieces() -> None:
    leaves = told(f"maps --pid {PID} --leaves")
    assert len(leaves) == 10
    assert all(each["count"] == 1 for each in leaves)
    assert sum(each["size"] for each in leaves) == sum(each["size"] for each in told(f"maps --pid {PID}"))


def test_one_process_and_all_of_them() -> None:
    assert {each[0] for each in runs(f"maps --pid {PID}")} == {PID}
    assert {each[0] for each in runs("maps --pid 0x0")} == {0}
    assert [each[0] for each in runs("maps --all")] == [0] * 6 + [PID] * 6
    assert {each[0] for each in runs("maps --all", broken_target())} == {0, PID, BROKEN_PID}


def test_a_limit_is_told() -> None:
    *three, note = told("maps --all --limit 3")
    assert len(three) == 3
    assert note == {"note": "3 of 12 ranges told here; --limit N tells more"}
    assert "note" not in told("maps --pid 4 --limit 6")[-1], "six are all there are"
    assert told("maps --limit 0") == [{"note": "0 of 12 ranges told here; --limit N tells more"}]
    with pytest.raises(UsageError, match="--limit takes a count"):
        ask("maps --limit -1")


@pytest.mark.parametrize("sort", ["ea", "ra", "size"])
def test_an_order_is_of_all_processes(sort: str) -> None:
    usual = runs("maps --all")
    found = runs(f"maps --all --sort {sort}")
    key = {"ea": lambda _: 0, "ra": lambda each: int(each[4], 16), "size": lambda each: -each[2]}[sort]
    assert found == sorted(usual, key=key)
    assert runs(f"maps --all --sort {sort} --limit 5") == found[:5]
    chosen = f"maps --pid {PID} --rights w --sort {sort} --leaves"
    assert len(runs(chosen)) == 7
    assert [each[4] for each in runs(f"{chosen} --limit 3")] == [each[4] for each in runs(chosen)][:3]


def test_in_another_order_each_line_names_its_process() -> None:
    head, *told = shown("maps --all --sort size").splitlines()
    assert head.split() == ["PID", "EA", "size", "real", "address", "page", "rights"]
    assert told[0].split() == ["0", f"{KERNEL:#x}", "32M", "0x0", "2M", "r-xp", "RC"]
    assert {line.split()[0] for line in told} == {"0", f"{PID}"}
    assert [line.index("0x", 8) for line in told] == [8] * len(told)


def test_the_kernels_ranges_stand_in_linuxs_regions() -> None:
    text = shown("maps").splitlines()
    marks = [at for at, line in enumerate(text) if line.startswith("---[")]
    assert [text[at] for at in marks] == ["---[ linear map ]---", "---[ ioremap ]---"]
    assert text[marks[0] + 1].startswith(f"{KERNEL:#x}")
    assert text[marks[1] + 1].startswith(f"{IO:#x}")
    assert "---[" not in shown(f"maps --pid {PID}")
    assert "---[" not in shown("maps --sort ra")
    assert {each["region"] for each in told("maps --all")} == {"linear map", "ioremap", "user"}


def test_outside_linuxs_regions_there_is_none() -> None:
    target = linux_target()
    tree = Tree(target.source.put_word, Bump(56 * MiB))
    beyond = KERNEL | 0xF_C000_0000_0000
    for ea in (KERNEL, beyond):
        tree.map(ea, USER_PAGES_AT | DATA, 21)
    target.source.put_word(PROCESS_TABLE_AT, tree.descriptor)
    assert [each["region"] for each in told("maps --pid 0", target)] == ["linear map", None]
    assert "---[ no region of Linux ]---" in shown("maps --pid 0", target)


@pytest.mark.parametrize(
    ("ea", "found"),
    [
        (f"{KERNEL + 0x1234:#x}", KERNEL),
        (f"{USER_DATA_EA + 0x2_FFFF:#x}", USER_DATA_EA),
        (f"{USER_DATA_EA + 1:#x}..{USER_DATA_EA + 2:#x}", USER_DATA_EA),
        (f"{IO:#x}:0xffffffffffffffff", IO),
        ("$nip", KERNEL),
    ],
)
def test_the_range_that_holds_an_address(ea: str, found: int) -> None:
    assert runs(f"maps --ea {ea}")[0][1] == f"{found:#x}"


def test_a_selection_that_nothing_matches_is_said_with_a_way_on() -> None:
    for words, says in (
        ("maps --ea 0", "none of 12 ranges of PID 0 and PID 4 is as was asked; --all looks at every process"),
        ("maps --all --ea 0 --leaves", "none of 46 leaves of PID 0 and PID 4 is as was asked"),
        ("maps --pid 0 --rights 'u'", "none of 6 ranges of PID 0 is as was asked; --all looks at every process"),
        ("maps --ea 0x0010000000000000", "effective addresses are below 2^52 in quadrant 0"),
        ("maps --ea 0x4000000000000000:0x1000", "effective addresses are below 2^52 in quadrant 0"),
    ):
        results = ask(words)
        assert all(each.ok for each in results)
        (note,) = told(words)
        assert says in note["note"]
        assert len(shown(words).splitlines()) <= 3


def test_more_than_a_screenful_is_summed_up_for_a_person() -> None:
    assert "in all" not in shown("maps --all")
    last = shown("maps --all --leaves").splitlines()[-1]
    assert last == "in all: 46 leaves of 2 PIDs, 66192K: 32 of 2M, 10 of 64K, 4 of 4K"
    with inspector.open_target("demo") as demo:
        assert (
            shown("maps --pid 0", demo)
            .splitlines()[-1]
            .startswith("in all: 90 ranges of 1 PID, 1.0G in 630 leaves: 513 of 2M, 117 of 64K")
        )
    assert all("ea" in each for each in told("maps --all --leaves"))


def test_what_is_not_shown_is_never_made_into_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(*values: Any) -> Run:
        made.append(1)
        return Run(*values)

    monkeypatch.setattr(runs_module, "Run", counted)
    for words in ("maps --all --leaves --limit 3", "maps --all --limit 3 --sort size"):
        made.clear()
        assert len(runs(words)) == 3
        assert len(made) == 3


# -- too much to keep --------------------------------------------------------------------------------------------------


def test_ranges_of_tables_too_large_to_keep_are_told_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = told("maps --all")
    monkeypatch.setattr("inspector.spaces.affordable", lambda: Limits(leaves=40))
    assert all(each.ok for each in ask("maps --all"))
    note, *found = told("maps --all")
    assert "larger than can be kept" in note["note"]
    assert found == whole


def test_leaves_that_are_left_out_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.spaces.affordable", lambda: Limits(leaves=40))
    note, *found = told("maps --all --leaves")
    assert "without --leaves all is told" in note["note"]
    assert len([each for each in found if "ea" in each and "ra" in each]) < 46
    assert [each["oddity"] for each in found if "oddity" in each] == ["too-large"]
    assert not all(each.ok for each in ask("maps --all --leaves"))


def test_ranges_that_are_left_out_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.spaces.affordable", lambda: Limits(leaves=40))
    monkeypatch.setattr("inspector.spaces.most_ranges", lambda: 1)
    unfinished, _streamed, *found = told("maps --all")
    assert "more ranges than can be kept" in unfinished["unfinished"]
    assert 0 < len(found) < 12
    assert not all(each.ok for each in ask("maps --all"))
    monkeypatch.setattr("inspector.commands.maps.A_SCREENFUL", 0)
    assert "so far: " in shown("maps --all")
    assert "so far: " in shown("maps --all --leaves")


def test_oddities_come_after_the_maps_and_are_findings() -> None:
    results = ask(f"maps --pid {BROKEN_PID}", broken_target())
    assert [each.ok for each in results] == [True, True, False, False, False]
    assert f"PID {BROKEN_PID}, {BROKEN_EA + 2 * MiB:#x}: table-not-ram" in "\n".join(lines(results))
    page, *odd = told(f"maps --pid {BROKEN_PID}", broken_target())
    assert (page["ea"], page["unknown_flags"]) == (f"{BROKEN_EA:#x}", "0x40")
    assert [(each["oddity"], each["ea"]) for each in odd] == [
        ("table-not-ram", f"{BROKEN_EA + 2 * MiB:#x}"),
        ("cycle", f"{BROKEN_EA + 4 * MiB:#x}"),
        ("table-size", f"{BROKEN_EA + 6 * MiB:#x}"),
    ]
    text = shown(f"maps --pid {BROKEN_PID}", broken_target())
    assert "unknown bits set: 0x40" in text
    assert f"{TIMA:#x}" in text


def test_oddities_without_end_are_counted() -> None:
    target = linux_target()
    root = 58 * MiB
    target.source.put_word(PROCESS_TABLE_AT + 16 * 8, 0x4000_0000_0000_00AD | root)
    for index in range(100):
        target.source.put_word(root + 8 * index, 1 << 63 | root | 3)
    note, *odd = told("maps --pid 8", target)
    assert note == {"note": "no mapping was found: PID 8"}
    assert [each["oddity"] for each in odd] == ["table-size"] * ODDITIES_TOLD
    assert [each["more"] for each in odd][-2:] == [0, 100 - ODDITIES_TOLD]
    assert "68 more like this" in shown("maps --pid 8", target).replace("\n", " ")


def test_nothing_outside_ram_is_read_whatever_the_tables_say() -> None:
    target = broken_target()
    ask("maps --all", target)
    assert target.source.asked
    assert all(target.ram.covers(address, length) for address, length in target.source.asked)


def test_a_process_that_is_not_there_is_a_finding() -> None:
    (result,) = ask("maps --pid 3")
    assert not result.ok
    assert told("maps --pid 3")[0]["oddity"] == "no-process"


def test_an_entry_that_the_snapshot_lacks_is_a_finding_of_that_process_alone() -> None:
    target = linux_target()
    target.set(0, pid=0x1000)
    target.source.captured = [(PROCESS_TABLE_AT, 0x1000), (34 * MiB, MiB)]
    *kernel, odd = told("maps", target)
    assert len(kernel) == 6
    assert (odd["oddity"], odd["pid"]) == ("table-not-captured", 0x1000)


def test_a_table_that_the_snapshot_lacks_is_told_with_the_entry_that_leads_there() -> None:
    target = linux_target()
    target.source.captured = [(PROCESS_TABLE_AT, 0x1000), (34 * MiB, 0x1_0000)]
    _, *odd = told("maps --pid 0", target)
    assert {each["oddity"] for each in odd} == {"table-not-captured"}
    assert "level 3 entry" in odd[0]["reason"]


def test_without_a_known_pid_the_kernel_alone_is_told_and_that_is_said() -> None:
    target = linux_target()
    target.set(0, pid=None)
    note, *mapped = told("maps", target)
    assert "only the kernel's" in note["note"]
    assert {each["pid"] for each in mapped} == {0}


def test_pid_0_is_told_once() -> None:
    target = linux_target()
    target.set(0, pid=0)
    assert len(told("maps", target)) == 6


def test_wrong_words_are_told() -> None:
    for words, says in (
        ("maps --pid 0x100000", "1048576 entries"),
        ("maps --pid 4 --all", "not allowed with"),
        ("maps 4", "4"),
        ("maps --pid nosuch", "neither a number nor a register"),
        ("maps --ea 0x1000:-5", "ends below 0"),
        ("maps --region vmalloc --ea 0x1000", "no address that --ea names"),
        ("maps --region vmaloc", "there are user, linear map, vmalloc"),
        ("maps --page 8K", "there are 4K, 64K, 2M, 1G, 512G"),
        ("maps --rights w&", "something is missing; write rights as in"),
        ("maps --rights z", "'z' is not known"),
        ("maps --attribute wet", "there are normal, sao"),
        ("maps --sort colour", "choose from"),
        ("maps --ea 5..5", "is an empty range; write it as"),
        ("maps --ea 5:0", "is an empty range; write it as"),
        ("maps --ea 1..", "lacks one of its ends; write it as"),
        ("maps --ra :1", "lacks one of its ends; write it as"),
        ("maps --limit many", "--limit: 'many' is neither"),
        ("maps --user --privileged", "not allowed with"),
    ):
        with pytest.raises(UsageError, match=says):
            ask(words)
