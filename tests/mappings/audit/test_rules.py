"""Each rule finds the one fault that it is for, in a guest that has no other, and no other rule finds anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from inspector.errors import Unreadable, UsageError
from inspector.mappings.audit.rules import RULES, chosen
from inspector.mappings.audit.run import audit
from inspector.mappings.audit.subject import Surroundings
from inspector.memory.physical import RamMap, Range
from inspector.processes import Missed
from inspector.radix.columns import Limits
from inspector.radix.sweep import sweep
from inspector.spaces import Spaces
from inspector.trees import Tree
from tests.fakes import MiB
from tests.mappings.audit.house import (
    CODE,
    DEVICE_AT,
    DIMM,
    FREE,
    IO,
    KDATA,
    KDEVICE,
    KTEXT,
    OTHER,
    PAGE,
    PID,
    SPARE,
    STACK,
    TABLE_AT,
    TABLES_AT,
    UDATA,
    UREAD,
    UTEXT,
    VMALLOC,
    House,
    L,
)
from tests.radix.trees import LEAF, RTS_52, VALID

Break = Callable[[House], object]
CASES: list[tuple[str, Break]] = [
    ("wx-mapping", lambda h: h.kernel.map(VMALLOC, FREE | L | 0x18F, 16)),
    ("wx-user", lambda h: h.user.map(SPARE, DIMM + 8 * PAGE | L | 0x107, 16)),
    ("kernel-user", lambda h: h.kernel.map(VMALLOC, FREE | L | 0x186, 16)),
    ("kernel-user", lambda h: h.kernel.map(VMALLOC, FREE | L | 0x104, 16)),
    ("kernel-text-user", lambda h: h.user.map(SPARE, PAGE | UREAD, 16)),
    ("kernel-text-user", lambda h: h.user.map(SPARE, DIMM | UDATA, 16)),  # a module's
    ("tables-user", lambda h: h.user.map(SPARE, TABLES_AT | UREAD, 16)),
    ("tables-user", lambda h: h.user.map(SPARE, TABLE_AT | UREAD, 16)),
    ("normal-outside-ram", lambda h: h.kernel.map(IO + PAGE, DEVICE_AT | KDATA, 16)),
    ("normal-outside-ram", lambda h: h.user.map(1 << 30, DIMM + 2 * MiB | UREAD, 21)),  # half of it is RAM
    ("stray-rpn", lambda h: h.kernel.map(VMALLOC, FREE | 0x3000 | KDATA, 16)),
    ("leaf-512g", lambda h: h.user.map(1 << 45, 1 << 49 | KDEVICE & ~8, 39)),
    ("tree-size", lambda h: h.enter(OTHER, h.tree(OTHER).descriptor ^ 0x20)),
    ("root-size", lambda h: h.enter(OTHER, h.tree(OTHER).descriptor ^ 1)),
    ("table-size", lambda h: h.memory.put_word(h.path[1] + 8, VALID | FREE | 7)),
    ("misaligned-base", lambda h: h.enter(OTHER, h.tree(OTHER).descriptor | 0x100)),
    ("misaligned-base", lambda h: h.memory.put_word(h.path[1] + 8, VALID | FREE | 0x800 | 9)),
    ("no-leaf", lambda h: h.memory.put_word(h.path[0] + 64, VALID | FREE | 5)),
    ("cycle", lambda h: h.memory.put_word(h.path[1] + 8, VALID | h.path[1] & ~0xFFF | 9)),
    ("shared-levels", lambda h: h.write({h.path[at] + 8: VALID | FREE | 9 for at in (1, 2)})),
    ("table-outside-ram", lambda h: h.memory.put_word(h.path[1] + 8, VALID | DEVICE_AT | 5)),
    ("table-outside-ram", lambda h: h.enter(OTHER, RTS_52 | DEVICE_AT | 13)),
    (
        "overlapping-tables",
        lambda h: h.write({h.path[1] + 8: VALID | FREE | 9, h.path[1] + 16: VALID | FREE | 0x100 | 5}),
    ),
    (
        "overlapping-tables",
        lambda h: h.write({h.path[1] + 8: VALID | FREE | 9, h.path[1] + 16: VALID | FREE | 5}),
    ),
    ("overlapping-tables", lambda h: h.memory.put_word(h.path[1] + 8, VALID | TABLE_AT + 0x8000 | 5)),
    ("overlapping-tables", lambda h: h.memory.put_word(h.path[1] + 8, VALID | h.tree(OTHER).root + 0x8000 | 5)),
    ("same-root", lambda h: h.enter(OTHER, h.user.descriptor)),
    ("shared-table", lambda h: h.memory.put_word(h.tree(OTHER).root, h.memory.word(h.path[3]))),
    ("shared-within", lambda h: h.memory.put_word(h.path[1] + 8, h.memory.word(h.path[1]))),
    ("reserved-directory", lambda h: h.flip(h.path[1], 0x20)),
    ("reserved-directory", lambda h: h.flip(h.path[3], 1 << 61)),
    ("wx-alias", lambda h: h.tree(OTHER).map(SPARE, DIMM + PAGE | UDATA, 16)),
    ("wx-alias", lambda h: h.user.map(SPARE, DIMM + PAGE | UDATA, 16)),
    ("wx-alias", lambda h: h.kernel.map(VMALLOC, DIMM + PAGE | KDATA, 16)),  # the kernel writes a user's code
    ("wx-alias", lambda h: h.kernel.map(VMALLOC, 2 * PAGE | KDATA, 16)),  # ... and its own
    ("wx-alias-linear", lambda h: h.user.map(SPARE, FREE | UTEXT, 16)),
    ("wx-alias-linear", lambda h: h.kernel.map(VMALLOC, FREE | KTEXT, 16)),
    ("tables-alias", lambda h: h.kernel.map(VMALLOC, TABLES_AT | KDATA, 16)),
    ("tables-alias", lambda h: h.kernel.map(VMALLOC, TABLE_AT | KDATA, 16)),
    ("io-on-ram", lambda h: h.kernel.map(IO + PAGE, FREE | KDEVICE, 16)),
    ("executable-io", lambda h: h.kernel.map(IO + PAGE, DEVICE_AT | L | 0x12D, 16)),
    ("reserved-leaf", lambda h: h.user.map(SPARE, DIMM + 8 * PAGE | UDATA | 0x40, 16)),
    ("reserved-leaf", lambda h: h.user.map(SPARE, DIMM + 8 * PAGE | UDATA | 1 << 60, 16)),
    ("changed-unreferenced", lambda h: h.kernel.map(VMALLOC, FREE | L | 0x08E, 16)),
    ("process-entry-reserved", lambda h: h.enter(PID, h.user.descriptor, 1)),
    ("process-entry-reserved", lambda h: h.enter(PID, h.user.descriptor | 1 << 63)),
    ("aged", lambda h: h.user.map(SPARE, DIMM + 8 * PAGE | L | 0x286, 16)),
    ("privileged-in-user-half", lambda h: h.user.map(SPARE, DIMM + 8 * PAGE | KDATA, 16)),
    ("changed-read-only", lambda h: h.user.map(SPARE, DIMM + 8 * PAGE | L | 0x384, 16)),
    ("unreferenced", lambda h: h.user.map(SPARE, DIMM + 8 * PAGE | L | 0x006, 16)),
    ("no-rights", lambda h: h.user.map(SPARE, DIMM + 8 * PAGE | L | 0x108, 16)),
    ("invalid-entry", lambda h: h.memory.put_word(h.path[0] + 64, LEAF | 0x5000)),
]


@pytest.mark.parametrize(("rule", "make"), CASES, ids=[f"{at}-{rule}" for at, (rule, _) in enumerate(CASES)])
def test_a_rule_finds_its_fault_and_no_other_rule_does(rule: str, make: Break) -> None:
    house = House()
    make(house)
    report = house.audit()
    assert dict(report.counts) == {rule: 1}
    (found,) = report
    assert (found.rule, found.severity, found.more) == (rule, RULES[rule].severity, 0)
    assert found.explanation.endswith(RULES[rule].means)
    if found.entry is not None:
        assert found.entry_address is not None
        assert house.memory.word(found.entry_address) == found.entry
        assert found.meaning


def test_a_healthy_guest_has_none() -> None:
    assert House().audit().findings == []


ELSEWHERE = {
    *("kernel-text-writable", "process-table-size", "process-table-misaligned", "process-table-outside-ram"),
    *("table-unread", "too-large", "process-table-unread"),
    *("tables-guest", "host-page-shared"),
}
"""Rules whose faults are not in the tables' words: tested below; those of partitions in tests/commands."""


def test_every_rule_is_tested() -> None:
    assert {rule for rule, _ in CASES} | ELSEWHERE == set(RULES)


# -- what is found -----------------------------------------------------------------------------------------------------


def test_pages_that_continue_each_other_are_one_finding() -> None:
    house = House()
    for at in range(3):
        path = house.user.map(SPARE + at * PAGE, DIMM + (8 + at) * PAGE | L | 0x107, 16)
    house.user.map(STACK - PAGE, DIMM + 14 * PAGE | L | 0x107, 16)
    first, second = house.audit()
    assert (first.ea, first.size, first.count, first.ra) == (SPARE, 3 * PAGE, 3, DIMM + 8 * PAGE)
    assert (first.pid, first.level, first.page_shift, first.entry_address) == (PID, 0, 16, path[0] - 16)
    assert (second.ea, second.count) == (STACK - PAGE, 1)


def test_an_alias_names_who_writes_and_where() -> None:
    house = House()
    house.tree(OTHER).map(SPARE + 0x3000, DIMM + PAGE + 0x3000 | UDATA, 12)
    (found,) = house.audit()
    assert (found.pid, found.ea, found.ra) == (PID, CODE, DIMM + PAGE)
    assert (found.other_pid, found.other_ea) == (OTHER, SPARE + 0x3000)
    assert f"that of PID {OTHER} at {SPARE + 0x3000:#x}" in found.explanation


def test_an_alias_in_a_larger_page_is_told_by_its_very_address() -> None:
    house = House()
    house.user.map(SPARE, FREE + 3 * PAGE | UTEXT, 16)
    (found,) = house.audit()
    assert found.other_ea == 0xC000_0000_0000_0000 + FREE + 3 * PAGE


def test_user_access_to_kernel_code_is_no_alias_besides() -> None:
    house = House()
    house.user.map(SPARE, PAGE | UDATA, 16)
    assert set(house.audit().counts) == {"kernel-text-user"}


def test_non_idempotent_memory_is_not_executed_whatever_its_entry_says() -> None:
    house = House()
    house.kernel.map(IO + PAGE, DEVICE_AT | L | 0x1AF, 16)
    assert set(house.audit().counts) == {"executable-io"}


def test_sharing_is_told_where_it_begins_and_by_whom() -> None:
    house = House()
    house.enter(OTHER, house.user.descriptor)
    house.memory.put_word(house.path[1] + 8, house.memory.word(house.path[1]))
    root, table = house.audit()
    assert (root.rule, root.pid, root.other_pid, root.entry) == ("same-root", PID, OTHER, house.user.descriptor)
    assert (table.rule, table.ea, table.other_ea) == ("shared-within", CODE & ~0x1F_FFFF, (CODE & ~0x1F_FFFF) + 2 * MiB)
    assert (table.ra, table.level) == (house.path[0] & ~0xFF, 1)


def test_tables_are_named_that_user_mode_maps() -> None:
    house = House()
    house.user.map(SPARE, house.path[0] & ~0xFFF | UREAD, 12)
    (found,) = house.audit()
    assert f"the level 0 table of PID {PID} at {house.path[0] & ~0xFF:#x} (256 bytes) among them" in found.explanation


def test_the_partition_table_is_a_table_too() -> None:
    house = House()
    house.user.map(SPARE, FREE | UREAD, 16)
    assert not house.audit().findings
    report = audit(house.guest().spaces(), around=Surroundings(partition_table=(FREE, PAGE)))
    assert [(each.rule, each.ea) for each in report] == [("tables-user", SPARE)]
    assert "the partition table among them" in report.findings[0].explanation


# -- symbols -----------------------------------------------------------------------------------------------------------


def test_symbols_say_what_the_kernels_code_is() -> None:
    house = House(text=(0, 30 * MiB))
    house.user.map(SPARE, 31 * MiB | UREAD, 16)  # constants, or the vdso: executable, but no code
    assert not house.audit().findings
    house.user.map(SPARE + PAGE, 29 * MiB | UREAD, 16)
    house.user.map(SPARE + 4 * PAGE, DIMM | UREAD, 16)  # a module
    assert [(each.rule, each.ea) for each in house.audit()] == [
        ("kernel-text-user", SPARE + PAGE),
        ("kernel-text-user", SPARE + 4 * PAGE),
    ]


def test_kernel_code_that_the_linear_map_has_writable() -> None:
    house = House(text=(0, 30 * MiB))
    leaf = house.linear[1] - 8 * (32 - 5)  # 31 is the last
    house.memory.put_word(leaf + 8, house.memory.word(leaf + 8) & ~0xFF | 0x8E)
    report = house.audit()
    assert {each.rule for each in report} == {"kernel-text-writable"}
    (found,) = report
    assert found.entry_address == leaf + 8


def test_symbols_of_another_kernel_are_not_believed() -> None:
    house = House(text=(FREE, FREE + MiB))
    house.user.map(SPARE, FREE | UREAD, 16)
    assert not house.audit().findings
    house.user.map(SPARE + PAGE, MiB | UREAD, 16)
    assert set(house.audit().counts) == {"kernel-text-user"}


# -- the process table, and what could not be looked at ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "table"),
    [
        ("process-table-misaligned", (TABLE_AT + 0x1000, 1 << 16)),
        ("process-table-outside-ram", (DIMM, 4 * MiB)),
    ],
)
def test_a_process_table_that_cannot_be(rule: str, table: tuple[int, int]) -> None:
    house = House()
    rules = tuple(name for name in RULES if not name.startswith("tables-"))
    report = house.audit(rules, replace(house.guest().spaces(), table=table))
    assert dict(report.counts) == {rule: 1}
    assert (report.findings[0].ra, report.findings[0].size) == table


def test_a_process_table_too_large() -> None:
    house = House(ram=((0, 1 << 38),))
    report = house.audit(spaces=replace(house.guest().spaces(), table=(0, 1 << 37)))
    assert [each.rule for each in report] == ["process-table-size"]


def test_a_table_that_is_refused_is_told_as_not_audited() -> None:
    house = House()
    house.memory.refused = [(house.path[0] & ~0xFF, 256)]
    (found,) = house.audit()
    assert (found.rule, found.entry_address) == ("table-unread", house.path[1])


def test_a_part_of_the_process_table_that_is_refused_is_told_too() -> None:
    house = House()
    house.memory.refused = [(TABLE_AT + 0x8000, 16)]
    (found,) = house.audit()
    assert found.rule == "process-table-unread"
    mixed = Missed()
    mixed.add(TABLE_AT, 16, Unreadable(TABLE_AT, 16, "no"))
    spaces = replace(house.guest().spaces(), table=(DIMM, 4 * MiB), missed=mixed, ram=RamMap([Range(0, 1 << 62)]))
    assert "process-table-unread" in house.audit(spaces=spaces).counts


def test_a_tree_that_is_cut_short_is_told() -> None:
    house = House()
    guest = house.guest()
    trees = tuple(Tree.of(each) for each in guest.processes())
    roots = [each.to_sweep() for each in trees]
    cut = sweep(guest.memory.read_runs, roots, Limits(tables=5))
    spaces = Spaces("", trees, cut, guest.memory.ram, guest.process_table())
    assert set(house.audit(spaces=spaces).counts) == {"too-large"}


# -- choosing ----------------------------------------------------------------------------------------------------------


def test_choosing_rules() -> None:
    default = {slug for slug, rule in RULES.items() if rule.default}
    assert set(chosen()) == default < set(RULES)
    assert chosen(["wx-user", "WX-mapping "]) == ("wx-mapping", "wx-user")
    assert set(chosen(severity="info")) == set(RULES)
    assert set(chosen(severity="error")) == {slug for slug, rule in RULES.items() if rule.severity == "error"}
    assert set(chosen(["aged"], severity="error")) == {*chosen(severity="error"), "aged"}
    assert set(chosen(without=["cycle"])) == default - {"cycle"}
    for words in (["wx-maping"], ["nothing like it at all"]):
        with pytest.raises(UsageError, match="there is no rule"):
            chosen(words)
    with pytest.raises(UsageError, match="did you mean 'wx-mapping'"):
        chosen(without=["wx-maping"])


def test_rules_are_in_order_of_their_gravity_and_read_as_sentences() -> None:
    order = ["error", "warning", "info"]
    assert [rule.severity for rule in RULES.values()] == sorted(
        (rule.severity for rule in RULES.values()), key=order.index
    )
    for rule in RULES.values():
        assert not rule.explanation.endswith(".")
        assert rule.source
        assert len(rule.slug) <= 25
