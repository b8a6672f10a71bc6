"""``decode`` and ``rmmu``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.commands.decode import DecodedValue, guess, kinds
from inspector.errors import ExpressionError, UsageError
from tests.commands.asking import ask, shown, told
from tests.fakes import KERNEL_MSR, LINUX_LPCR


@pytest.mark.parametrize(
    ("words", "kind", "meaning"),
    [
        ("pte 0xc00000000000018d", "pte", "leaf: real page 0x0, read, execute, privileged"),
        ("pde 0x80000000029e0105", "pde", "directory: next table at 0x29e0100, 2^5 entries"),
        ("prte0 0x40000000027400ad", "prte0", "process-scoped tree of 2^52 bytes, root directory at 0x2740000"),
        ("pate0 0xc0000000027400ad", "pate0", "partition-scoped tree of 2^52 bytes"),
        ("pate1 0x800000007e00000c", "pate1", "process table at 0x7e000000, 2^20 entries"),
        ("ptcr 0x7ffc0004", "ptcr", "partition table at 0x7ffc0000, 2^12 entries"),
        ("process-table 0x800000003e00000c", "process-table", "radix process table at 0x3e000000"),
        ("process_table 0", "process-table", "nothing registered"),
        ("leaf 0xc00000000000018e", "pte", "leaf: real page 0x0, read, write"),
        ("msr 0x9000000000001033", "msr", "hypervisor, translation on, little-endian"),
        ("MSR 0x8000000000000000", "msr", "privileged, translation off, big-endian"),
        ("lpcr 0x3d3f408", "lpcr", "radix host"),
        ("dsisr 0x42000000", "dsisr", "no translation found; the access was a store"),
        ("amr 0xfcffffffffffffff", "amr", "KUAP blocks reads and writes"),
        ("srr1 0x8000000040001033", "srr1", "if a fetch failed: no translation found"),
        ("ea 0xc00a000080000000", "ea", "quadrant 3"),
        ("lpid 3", "lpidr", "LPID 3"),
    ],
)
def test_a_value_by_its_kind(words: str, kind: str, meaning: str) -> None:
    (answer,) = told(f"decode {words}")
    assert (answer["kind"], answer["guessed"]) == (kind, False)
    assert meaning in answer["meaning"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("0xc00000000000018d", "pte"),
        ("0x80000000029e0105", "pde"),
        ("0x40000000027400ad", "prte0"),
        ("0", "invalid"),
        ("0x4000000000000123", "swap"),
        ("0x600000000000018d", "invalidated"),
    ],
)
def test_an_entry_is_guessed_and_that_is_said(value: str, kind: str) -> None:
    (answer,) = told(f"decode {value}")
    assert (answer["kind"], answer["guessed"]) == (kind, True)
    assert "taken for" in shown(f"decode {value}")


def test_what_could_be_a_partition_table_entry_too_is_said() -> None:
    (answer,) = told("decode 0xc0000000027400ad")
    assert (answer["kind"], answer["others"]) == ("pte", ["pate0"])


def test_bits_that_nobody_claims_are_told() -> None:
    (answer,) = told("decode pte 0xd0000000000001cd")
    assert answer["residue"] == "0x1000000000000040"
    assert "unknown bits set: 0x1000000000000040" in shown("decode pte 0xd0000000000001cd")


def test_a_level_adds_the_page_size() -> None:
    assert "2 MiB page" in told("decode pte 0xc000000003a0018e --level 1")[0]["meaning"]
    assert "512 GiB are not supported" in told("decode 0xc00000000000018e --level 3")[0]["meaning"]
    assert told("decode 0x4000000000000123 --level 0")[0]["kind"] == "swap"
    with pytest.raises(UsageError, match="leave pde out"):
        ask("decode pde 0xc00000000000018e --level 1")


def test_several_values_and_those_of_standard_input() -> None:
    answers = told("decode msr $msr - 0", stdin="0x1\n\n $lpcr \n")
    assert [each["value"] for each in answers] == [f"{KERNEL_MSR:#x}", "0x1", f"{LINUX_LPCR:#x}", "0x0"]


def test_the_fields_and_the_residue_are_the_value() -> None:
    for name, _, _ in (*kinds().entries, *kinds().registers):
        (answer,) = told(f"decode {name} 0x12345678")
        rebuilt = int(answer["residue"], 16)
        for each in answer["fields"]:
            rebuilt |= int(each["value"], 16) << int(each["bits"].split(":")[-1])
        assert rebuilt == 0x12345678, name


@given(st.integers(0, (1 << 64) - 1), st.sampled_from([None, 0, 1, 2, 3]))
def test_any_doubleword_can_be_guessed(value: int, level: int | None) -> None:
    answer = guess(value, level)
    assert isinstance(answer, DecodedValue)
    assert answer.decoded.assemble() == value


def test_the_kinds_are_listed_each_once_with_its_source() -> None:
    listed = told("decode --list")
    names = [each["kind"] for each in listed]
    assert len(names) == len(set(names))
    assert {"pate0", "pate1", "prte0", "pde", "pte", "ptcr", "process-table", "msr", "lpcr", "dsisr", "amr"} <= {*names}
    assert all(each["title"] and each["source"] for each in listed)
    for name in names:
        ask(f"decode {name} 0")


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ("decode", UsageError, "wants a value"),
        ("decode pte", UsageError, "wants a value after it"),
        ("decode ptee 5", UsageError, "did you mean pte"),
        ("decode pte 0x10000000000000000", ExpressionError, "65 bits"),
        ("decode ap 0x1000000000", UsageError, "has 32"),
        ("decode pte 0x5+", ExpressionError, "ends early"),
        ("decode pte 1 --level 4", UsageError, "--level"),
    ],
)
def test_wrong_words_are_told(words: str, error: type[UsageError], says: str) -> None:
    with pytest.raises(error, match=says):
        ask(words)


def test_the_geometries_and_encodings_that_kvm_reports() -> None:
    """kvmhv_get_rmmu_info of the seed: 4K and 64K trees, then shift | ap << 29 of 4K, 64K, 2M, 1G."""
    (answer,) = told("rmmu")
    assert answer["geometries"] == [
        {"page_shift": 12, "level_bits": [9, 9, 9, 13]},
        {"page_shift": 16, "level_bits": [5, 9, 9, 13]},
    ]
    assert answer["ap_encodings"] == ["0x0000000c", "0xa0000010", "0x20000015", "0x4000001e"]
    assert [(each["page_shift"], each["ap"]) for each in answer["page_sizes"]] == [(12, 0), (16, 5), (21, 1), (30, 2)]


def test_a_host_that_was_told_no_encodings_has_two() -> None:
    (answer,) = told("rmmu --without-property")
    assert answer["ap_encodings"] == ["0x0000000c", "0xa0000010"]
