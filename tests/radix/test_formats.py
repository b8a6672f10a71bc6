"""Positions are checked against Linux's and QEMU's own masks, written here as their headers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import UsageError
from inspector.radix import bits
from inspector.radix.descriptors import PATE0, PATE1, PROCESS_TABLE, PRTE0, PRTE1, PTCR
from inspector.radix.fields import Format
from inspector.radix.formats import (
    FORMATS,
    INVALID,
    INVALIDATED,
    PDE,
    PTE,
    SWAP,
    decode_entry,
    entry_meaning,
    format_named,
    format_of,
    kind_of,
)
from inspector.radix.registers import register_format

REGISTER_NAMES = (
    *("msr", "lpcr", "ptcr", "lpidr", "pid", "amr", "iamr", "uamor", "amor", "dsisr", "hdsisr", "srr1", "hsrr1"),
    *("pvr", "hrmor", "asdr", "cr", "xer", "dar"),
)


def every_format() -> list[Format]:
    tables = list(FORMATS.values())
    for name in REGISTER_NAMES:
        found = register_format(name)
        assert found is not None, name
        tables.append(found)
    return tables


EVERY = every_format()


@pytest.mark.parametrize("table", EVERY, ids=lambda table: table.name)
@given(data=st.data())
def test_decoding_loses_nothing(table: Format, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, (1 << table.width) - 1))
    decoded = table.decode(value)
    assert decoded.assemble() == value
    assert decoded.residue & table.mask == 0
    assert decoded.residue == value & ~table.mask
    assert decoded.meaning
    assert all(part.text for part in decoded.fields)
    assert "\n" not in decoded.meaning + decoded.linux


@pytest.mark.parametrize("table", EVERY, ids=lambda table: table.name)
def test_fields_do_not_overlap_and_stand_in_order(table: Format) -> None:
    total = sum(one.mask for one in table.fields)
    assert total == table.mask
    assert [one.low for one in table.fields] == sorted((one.low for one in table.fields), reverse=True)


@pytest.mark.parametrize(
    ("table", "masks"),
    [
        (
            PTE,
            {
                "V": 0x8000000000000000,
                "L": 0x4000000000000000,
                "SW0": 0x2000000000000000,
                "RPN": 0x01FFFFFFFFFFF000,
                "SW1": 0x800,
                "SW2": 0x400,
                "SW3": 0x200,
                "R": 0x100,
                "C": 0x080,
                "ATT": 0x030,
                "PRIV": 0x008,
                "READ": 0x004,
                "WRITE": 0x002,
                "EXEC": 0x001,
            },
        ),
        (PDE, {"V": 1 << 63, "L": 1 << 62, "NLB": 0x0FFFFFFFFFFFFF00, "NLS": 0x1F}),
        (
            PATE0,
            {
                "HR": 1 << 63,
                "RTS1": 0x6000000000000000,
                "RPDB": 0x0FFFFFFFFFFFFF00,
                "RTS2": 0xE0,
                "RPDS": 0x1F,
            },
        ),
        (PRTE0, {"RTS1": 0x6000000000000000, "RPDB": 0x0FFFFFFFFFFFFF00, "RTS2": 0xE0, "RPDS": 0x1F}),
        (PATE1, {"GR": 1 << 63, "PRTB": 0x0FFFFFFFFFFFF000, "PRTS": 0x1F}),
        (PROCESS_TABLE, {"GR": 1 << 63, "PRTB": 0x0FFFFFFFFFFFF000, "PRTS": 0x1F}),
        (PTCR, {"PATB": 0x0FFFFFFFFFFFF000, "PATS": 0x1F}),
        (PRTE1, {}),
    ],
    ids=lambda value: value.name if isinstance(value, Format) else "",
)
def test_positions_are_those_of_the_headers(table: Format, masks: dict[str, int]) -> None:
    assert {one.name: one.mask for one in table.fields} == masks


@pytest.mark.parametrize(
    ("table", "name", "mask"),
    [
        (PTE, "V", bits.PTE_VALID),
        (PTE, "L", bits.PTE_LEAF),
        (PTE, "RPN", bits.PTE_RPN),
        (PTE, "R", bits.PTE_R),
        (PTE, "C", bits.PTE_C),
        (PTE, "ATT", bits.PTE_ATT),
        (PTE, "PRIV", bits.PTE_PRIVILEGED),
        (PTE, "READ", bits.PTE_READ),
        (PTE, "WRITE", bits.PTE_WRITE),
        (PTE, "EXEC", bits.PTE_EXEC),
        (PDE, "NLB", bits.PDE_NLB),
        (PDE, "NLS", bits.PDE_NLS),
        (PATE0, "HR", bits.PATE0_HR),
        (PATE1, "GR", bits.PATE1_GR),
        (PRTE0, "RTS1", bits.RTS1_MASK),
        (PRTE0, "RTS2", bits.RTS2_MASK),
        (PRTE0, "RPDB", bits.RPDB_MASK),
        (PRTE0, "RPDS", bits.RPDS_MASK),
        (PATE1, "PRTB", bits.PRTB_MASK),
        (PATE1, "PRTS", bits.PRTS_MASK),
        (PTCR, "PATB", bits.PTCR_PATB),
        (PTCR, "PATS", bits.PTCR_PATS),
    ],
)
def test_the_tables_agree_with_the_walkers_masks(table: Format, name: str, mask: int) -> None:
    assert table.field(name).mask == mask


@given(st.integers(0, bits.MASK64))
def test_rts_is_put_together_from_its_two_fields(value: int) -> None:
    decoded = PRTE0.decode(value)
    assert (decoded["RTS1"] << 3 | decoded["RTS2"]) + 31 == bits.tree_bits(value)


@pytest.mark.parametrize(
    ("table", "ibm"),
    [
        (PTE, "0 1 2 7:51 52 53 54 55 56 58:59 60 61 62 63"),
        (PDE, "0 1 4:55 59:63"),
        (PATE0, "0 1:2 4:55 56:58 59:63"),
        (PATE1, "0 4:51 59:63"),
    ],
)
def test_the_isa_counts_from_the_other_end(table: Format, ibm: str) -> None:
    assert " ".join(one.ibm() for one in table.fields) == ibm


@pytest.mark.parametrize(
    ("entry", "meaning", "linux"),
    [
        (
            0xC0000000029E018F,
            "leaf: real page 0x29e0000, read, write, execute, privileged, referenced, changed, normal memory",
            "",
        ),
        (
            0xC00603020318018A | 0x24,
            "leaf: real page 0x6030203180000, read, write, privileged, referenced, changed, non-idempotent I/O",
            "",
        ),
        (
            0xC000000000010202,
            "leaf: real page 0x10000, read, write, unprivileged, not referenced, not changed, normal memory",
            "soft dirty",
        ),
        (
            0xC000000000010108,
            "leaf: real page 0x10000, no access, privileged, referenced, not changed, normal memory",
            "PROT_NONE, or waiting for a NUMA hint",
        ),
        (0x80000000029E0105, "directory: next table at 0x29e0100, 2^5 entries (256 bytes)", ""),
        (0x80000000029E1009, "directory: next table at 0x29e1000, 2^9 entries (4 KiB)", ""),
        (0, "invalid: no translation", "empty"),
        (
            0x180,
            "invalid: no translation; the other bits mean nothing to the hardware",
            "empty (none), with stray reference or change bits that Linux ignores",
        ),
        (
            0x2000000000000000,
            "invalid: no translation; the other bits mean nothing to the hardware",
            "a directory entry being split (_PAGE_INVALID without _PAGE_PTE)",
        ),
    ],
)
def test_what_an_entry_means(entry: int, meaning: str, linux: str) -> None:
    decoded = decode_entry(entry)
    assert (decoded.meaning, decoded.linux) == (meaning, linux)
    assert decoded.residue == 0


def test_a_swap_entry_is_linux_alone() -> None:
    entry = 0x4000000012340000 | 0x200 | 0x20 | 3
    decoded = decode_entry(entry, 0)
    assert decoded.format is SWAP
    assert (decoded["TYPE"], decoded["OFFSET"], decoded["EXCL"], decoded["SOFT"]) == (3, 0x12340, 1, 1)
    assert decoded.linux.startswith("swapped out: swap type 3, offset 0x1234 of 64K pages")
    assert "marker" in decode_entry(0x4000000000000000 | 31).linux
    assert "marker" not in decoded.linux


def test_an_invalidated_leaf_is_not_a_swap_entry() -> None:
    decoded = decode_entry(0x6000000012340186, 0)
    assert decoded.format is INVALIDATED
    assert decoded.meaning.startswith("invalid")
    assert "leaf: real page 0x12340000, read, write" in decoded.linux


def test_the_level_adds_to_the_meaning() -> None:
    leaf = 0xC000000000010107
    assert "real 2 MiB page 0x0" in entry_meaning(leaf, 1)
    assert "real page bits 0x10000 below the page size" in entry_meaning(leaf, 1)
    assert "below the page size" not in entry_meaning(leaf, 0, 16)
    assert "real 64 KiB page 0x10000" in entry_meaning(leaf, 0, 16)
    assert "512 GiB" in entry_meaning(leaf, 3)
    assert "privileged" not in entry_meaning(leaf, 0, 16, stage=2)
    directory = 0x80000000029E0105
    assert "supported at level 0 only" in entry_meaning(directory, 2)
    assert "but" not in entry_meaning(directory, 1)
    assert entry_meaning(directory, 0).startswith("directory at level 0, where only a leaf may be")
    assert decode_entry(leaf, 1).meaning == entry_meaning(leaf, 1)


def test_a_directory_that_no_walk_takes_says_why() -> None:
    assert "2^5 or 2^9" in PDE.decode(0x80000000029E0007).meaning
    assert "not a multiple of 4 KiB" in PDE.decode(0x80000000029E0109).meaning
    assert PDE.decode(0x80000000029E0125).linux
    assert PDE.decode(0x80000000029E0125).residue == 0x20


@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [
        (
            "prte0",
            0x40000000027400AD,
            "process-scoped tree of 2^52 bytes, root directory at 0x2740000, 2^13 entries (64 KiB)",
        ),
        ("prte0", 0, "empty: no address space has this PID"),
        (
            "pate0",
            0xC0000000027400AD,
            "partition-scoped tree of 2^52 bytes, root directory at 0x2740000, 2^13 entries (64 KiB)",
        ),
        ("pate0", 0, "empty: no partition"),
        ("pate0", 0x3E000000, "hash partition: HR is 0, so no radix tree is rooted here"),
        ("pate1", 0x800000007E00000C, "process table at 0x7e000000, 2^20 entries (16 MiB)"),
        ("process_table", 0x800000003E00000C, "radix process table at 0x3e000000, 2^20 entries (16 MiB)"),
        ("process-table", 1 << 63, "radix, but no process table is registered yet"),
        ("process-table", 0, "nothing registered: the guest has not started its MMU, or uses the hash MMU"),
        ("ptcr", 0x7FFC0004, "partition table at 0x7ffc0000, 2^12 entries (64 KiB)"),
        ("ap", 0xA0000010, "64 KiB pages are encoded as AP 5"),
        ("prte1", 0, "reserved with radix: 0"),
    ],
)
def test_what_a_root_means(name: str, value: int, meaning: str) -> None:
    table = format_named(name)
    assert table is not None
    assert table.decode(value).meaning == meaning


def test_a_root_that_no_walk_takes_says_why() -> None:
    assert "2^31 bytes" in PRTE0.decode(0x2740000).meaning
    assert "only" in PRTE0.decode(0x2740000).meaning
    assert "not a multiple of 64 KiB" in PRTE0.decode(0x40000000027410AD).meaning
    assert "not a multiple of 16 MiB" in PROCESS_TABLE.decode(0x800000003E10000C).meaning
    assert "above 24" in PROCESS_TABLE.decode((1 << 63) | 25).meaning
    assert "above 24" not in PROCESS_TABLE.decode((1 << 63) | 24).meaning
    assert PRTE1.decode(5).residue == 5


@given(st.integers(0, bits.MASK64), st.sampled_from([None, 0, 1, 2, 3]))
def test_kind_and_format_follow_v_and_l(entry: int, level: int | None) -> None:
    kind = kind_of(entry)
    expected = {0b11: "leaf", 0b10: "directory"}.get(entry >> 62, "invalid")
    assert kind == expected
    table = format_of(entry)
    assert (table is PTE) == (kind == "leaf")
    assert (table is PDE) == (kind == "directory")
    assert (table in (INVALID, SWAP, INVALIDATED)) == (kind == "invalid")
    assert decode_entry(entry, level).meaning.startswith(kind)


def test_names() -> None:
    assert format_named("Leaf") is PTE
    assert format_named("prtb0") is PRTE0
    assert format_named("nonsense") is None
    with pytest.raises(UsageError, match="65 bits"):
        decode_entry(1 << 64)
