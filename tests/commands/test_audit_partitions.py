"""What an audit says of KVM guests: of what the host has behind them, and of their own trees."""

from __future__ import annotations

import pytest

from inspector.errors import UsageError
from inspector.mappings.audit.rules import RULES
from tests.commands.asking import ask, lines, told
from tests.fakes import (
    GUEST_LOST_EA,
    GUEST_PAGES,
    GUEST_PID,
    GUEST_RAM_AT,
    HR,
    KVM_LEAF,
    LPID,
    PARTITION_TABLE_AT,
    PROCESS_TABLE_AT,
    RAM_BYTES,
    FakeTarget,
    KiB,
    MiB,
    guest_to_host,
    kvm_host_target,
)
from tests.radix.trees import Bump, Tree

OTHER = 2
SECOND_AT = 0x3000_0000
"""Guest real: where the second guest has a page of the first's."""


def two_guests(ra: int, *, shift: int = 16, leaf: int = KVM_LEAF) -> FakeTarget:
    """The KVM host with a second guest, LPID 2, that has one page of the host's."""
    target = kvm_host_target()
    memory = target.source
    behind = Tree(memory.put_word, Bump(62 * MiB))
    behind.map(SECOND_AT, ra | leaf, shift)
    memory.put_word(PARTITION_TABLE_AT + 16 * OTHER, HR | behind.descriptor)
    return target


def findings(words: str, target: FakeTarget) -> list[dict[str, object]]:
    return [each for each in told(f"audit {words} --limit 100", target) if "rule" in each]


def test_a_healthy_partition_has_no_finding_though_its_leaves_allow_everything() -> None:
    assert findings("--partition --severity info", kvm_host_target()) == []
    assert findings(f"--partition --lpid {LPID} --severity info", kvm_host_target()) == []


def test_without_lpid_every_guest_is_looked_at() -> None:
    (end,) = (each for each in told("audit --partition", two_guests(GUEST_RAM_AT + 12 * MiB)) if "summary" in each)
    assert (end["trees"], end["leaves"]) == (2, len(GUEST_PAGES) + 1)


@pytest.mark.parametrize(
    ("rule", "leaf", "ra"),
    [
        ("normal-outside-ram", KVM_LEAF, RAM_BYTES + 64 * MiB),
        ("io-on-ram", KVM_LEAF | 0x20, GUEST_RAM_AT + 12 * MiB),
        ("stray-rpn", KVM_LEAF | 0x1000, GUEST_RAM_AT + 12 * MiB),
        ("reserved-leaf", KVM_LEAF | 0x40, GUEST_RAM_AT + 12 * MiB),
        ("aged", KVM_LEAF & ~0x100, GUEST_RAM_AT + 12 * MiB),
        ("tables-guest", KVM_LEAF, PROCESS_TABLE_AT),
        ("tables-guest", KVM_LEAF, PARTITION_TABLE_AT),
        ("tables-guest", KVM_LEAF, 62 * MiB),
        ("tables-guest", KVM_LEAF, 61 * MiB),
    ],
)
def test_a_fault_of_a_partition_scoped_leaf(rule: str, leaf: int, ra: int) -> None:
    (found,) = findings("--partition", two_guests(ra, leaf=leaf))
    assert (found["rule"], found["lpid"], found["pid"], found["ea"]) == (rule, OTHER, None, hex(SECOND_AT))


def test_a_page_that_two_guests_have_is_found_where_that_is_asked() -> None:
    shared = GUEST_PAGES[0][0]
    target = two_guests(shared)
    assert findings("--partition", target) == []
    one, other = findings("--partition --rule host-page-shared", target)
    assert [each["lpid"] for each in (one, other)] == [LPID, OTHER]
    assert (one["ea"], one["ra"], one["size"]) == ("0x0", hex(shared), 64 * KiB)
    assert (one["other_ea"], other["other_ea"]) == (hex(SECOND_AT), "0x0")
    assert f"LPID {OTHER} has it at guest real {SECOND_AT:#x}" in str(one["explanation"])


def test_a_large_page_that_holds_others_pages_is_shared_where_it_touches() -> None:
    first, *small = findings("--partition --rule host-page-shared", two_guests(GUEST_RAM_AT, shift=21))
    at = {gra: ra for gra, (ra, shift) in GUEST_PAGES.items() if ra < GUEST_RAM_AT + 2 * MiB}
    assert sum(int(str(each["size"])) for each in (first, *small) if each["lpid"] == LPID) == 64 * KiB * len(at)
    assert [each["size"] for each in (first, *small) if each["lpid"] == OTHER] == [2 * MiB]


def test_no_page_is_shared_by_one_guest_that_has_it_twice() -> None:
    target = kvm_host_target()
    tree = Tree(target.source.put_word, Bump(62 * MiB))
    for gra in (0, 64 * KiB):
        tree.map(gra, GUEST_RAM_AT | KVM_LEAF, 16)
    target.source.put_word(PARTITION_TABLE_AT + 16 * OTHER, HR | tree.descriptor)
    target.source.put_word(PARTITION_TABLE_AT + 16 * LPID, 0)
    assert findings("--partition --rule host-page-shared", target) == []


def test_of_one_guest_it_is_said_that_sharing_takes_two() -> None:
    words = f"audit --partition --lpid {LPID} --rule host-page-shared"
    seen = " ".join(lines(ask(words, two_guests(GUEST_PAGES[0][0]))))
    assert "leave --lpid out" in seen


def test_rules_that_mean_nothing_there_are_refused_and_not_passed() -> None:
    with pytest.raises(UsageError, match="none of these rules"):
        ask("audit --partition --rule wx-user", kvm_host_target())
    with pytest.raises(UsageError, match="none of these rules"):
        ask("audit --rule tables-guest", kvm_host_target())


def test_a_guests_own_trees_are_judged_by_its_own_addresses() -> None:
    """Its lost page is no fault of its: the host may have taken the memory away."""
    target = kvm_host_target()
    found = findings(f"--lpid {LPID}", target)
    assert {each["rule"] for each in found} == {"kernel-text-user"}  # its data is in its kernel's first 2M
    assert findings(f"--lpid {LPID} --ea {GUEST_LOST_EA:#x} --severity info --no-rule aged", target) == []
    leaf = int(str(found[0]["entry_address"]), 16)
    assert target.source.word(guest_to_host(leaf)) == int(str(found[0]["entry"]), 16)
    assert "guest real" in " ".join(lines(ask(f"audit --lpid {LPID}", target)))


def test_a_guests_leftover_entries_are_read_from_its_own_memory() -> None:
    target = kvm_host_target()
    found = findings(f"--lpid {LPID} --rule kernel-text-user", target)
    address = guest_to_host(int(str(found[0]["entry_address"]), 16))
    target.source.put_word(address, target.source.word(address) & ~(1 << 63))
    (left,) = findings(f"--lpid {LPID} --rule invalid-entry", target)
    assert (left["lpid"], left["pid"], left["entry_address"]) == (LPID, GUEST_PID, found[0]["entry_address"])


def test_every_rule_says_whom_it_judges() -> None:
    from inspector.mappings.audit.judging import NOT_OF_GUESTS, OF_PARTITIONS

    assert set(RULES) >= OF_PARTITIONS | NOT_OF_GUESTS
