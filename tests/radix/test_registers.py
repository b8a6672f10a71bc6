from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.radix import bits
from inspector.radix.fields import Format
from inspector.radix.keys import AMR_KUAP_BLOCKED
from inspector.radix.registers import describe_msr, register_format


def table_of(name: str) -> Format:
    found = register_format(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("register", "field", "mask"),
    [
        ("msr", "SF", bits.MSR_SF),
        ("msr", "HV", bits.MSR_HV),
        ("msr", "PR", bits.MSR_PR),
        ("msr", "IR", bits.MSR_IR),
        ("msr", "DR", bits.MSR_DR),
        ("msr", "LE", bits.MSR_LE),
        ("lpcr", "ILE", bits.LPCR_ILE),
        ("lpcr", "UPRT", bits.LPCR_UPRT),
        ("lpcr", "HR", bits.LPCR_HR),
        ("lpcr", "GTSE", bits.LPCR_GTSE),
        ("amr", "KEY0", bits.AMR_NO_WRITE | bits.AMR_NO_READ),
        ("iamr", "KEY0", bits.IAMR_NO_EXECUTE),
        ("dsisr", "NOPTE", bits.DSISR_NOPTE),
        ("dsisr", "ATTR", bits.DSISR_ATTR_CONFLICT),
        ("dsisr", "NOEXEC", bits.DSISR_NOEXEC_OR_GUARDED),
        ("dsisr", "PROT", bits.DSISR_PROTFAULT),
        ("dsisr", "BADACCESS", bits.DSISR_BADACCESS),
        ("dsisr", "STORE", bits.DSISR_ISSTORE),
        ("dsisr", "KEY", bits.DSISR_KEYFAULT),
        ("dsisr", "BADCONFIG", bits.DSISR_BADCONFIG),
        ("dsisr", "RC", bits.DSISR_SET_RC),
        ("hdsisr", "PRTABLE", bits.DSISR_PRTABLE_FAULT),
        ("srr1", "NOPTE", bits.DSISR_NOPTE),
        ("srr1", "NOEXEC", bits.DSISR_NOEXEC_OR_GUARDED),
        ("hsrr1", "BADCONFIG", bits.DSISR_BADCONFIG),
        ("hrmor", "HRMO", bits.REAL_MODE_MASK),
    ],
)
def test_the_tables_agree_with_the_walkers_masks(register: str, field: str, mask: int) -> None:
    assert table_of(register).field(field).mask == mask


@pytest.mark.parametrize(
    ("register", "field", "mask"),
    [
        ("lpcr", "AIL", 0x1800000),
        ("lpcr", "DPFD", 7 << 52),
        ("lpcr", "VRMASD", 0x1F << 47),
        ("lpcr", "HVEE", 0x0000400000000000),
        ("lpcr", "ONL", 0x40000),
        ("lpcr", "LD", 0x20000),
        ("lpcr", "MER", 0x800),
        ("lpcr", "TC", 0x200),
        ("lpcr", "HEIC", 0x10),
        ("lpcr", "HVICE", 0x2),
        ("lpcr", "HDICE", 0x1),
        ("msr", "EE", 1 << 15),
        ("msr", "ME", 1 << 12),
        ("msr", "RI", 1 << 1),
        ("msr", "S", 1 << 22),
        ("msr", "TM", 1 << 32),
        ("dsisr", "DAWR", 0x00400000),
        ("dsisr", "DIRECT", 0x80000000),
        ("dsisr", "EXTCTL", 0x00100000),
        ("dsisr", "ICSWX", 0x4000),
        ("dsisr", "COPY", 0x8),
        ("dsisr", "AMO", 0x4),
        ("dsisr", "CI", 0x2),
        ("srr1", "PREFIXED", 0x20000000),
        ("xer", "SO", 1 << 31),
        ("cr", "CR0", 0xF << 28),
        ("cr", "CR7", 0xF),
    ],
)
def test_positions_are_those_of_linux(register: str, field: str, mask: int) -> None:
    assert table_of(register).field(field).mask == mask


def test_bits_of_the_msr_in_srr1_are_no_causes() -> None:
    """PR, PMM and RI stand where DSISR has causes that a fetch never has."""
    assert table_of("srr1").decode(0x4000_0000 | 0x4006).meaning.endswith("if a fetch failed: no translation found")


@pytest.mark.parametrize(
    ("register", "value"),
    [
        ("msr", 0x800000000280B033),
        ("msr", 0x9000000000001033),
        ("lpcr", 0x3D3F408),
        ("lpcr", 0x3F008),
        ("lpcr", 0x20008),
    ],
)
def test_values_seen_in_guests_hold_no_unknown_bit(register: str, value: int) -> None:
    assert table_of(register).decode(value).residue == 0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0x800000000280B033, "kernel, translation on, little-endian"),
        (0x9000000000001033, "hypervisor, translation on, little-endian"),
        (0x800000000000F033, "user, translation on, little-endian"),
        (0x900000000000F032, "user of the host, translation on, big-endian"),
        (0x9000000000000000, "hypervisor, translation off, big-endian"),
        (0x0000000000000010, "kernel, translation on for data only, big-endian, 32-bit"),
        (0x8000000000400021, "kernel, translation on for fetches only, little-endian, secure"),
        (0, "privileged, translation off, big-endian, 32-bit"),
    ],
)
def test_msr_in_words(value: int, words: str) -> None:
    assert describe_msr(value) == words
    assert table_of("msr").decode(value).meaning == words


def test_keys() -> None:
    blocked = table_of("amr").decode(0xFCFFFFFFFFFFFFFF)
    assert AMR_KUAP_BLOCKED == 0xFCFFFFFFFFFFFFFF
    assert (blocked["KEY0"], blocked["KEY3"], blocked["KEY31"]) == (3, 0, 3)
    assert "AMR_KUAP_BLOCKED" in blocked.meaning
    assert "may not read or write user pages" in blocked.meaning
    assert "AMR_KUAP_BLOCK_READ" in table_of("amr").decode(0x5455555555555555).meaning
    assert "AMR_KUAP_BLOCK_WRITE" in table_of("amr").decode(0xA8AAAAAAAAAAAAAA).meaning
    kuep = table_of("iamr").decode(0x5455555555555555)
    assert "AMR_KUEP_BLOCKED" in kuep.meaning
    assert kuep.residue == 0
    assert (kuep["KEY0"], kuep["KEY3"]) == (1, 0)
    assert table_of("iamr").decode(1 << 63).residue == 1 << 63


@given(st.integers(0, bits.MASK64))
def test_key_0_is_said_as_the_seed_reads_it(value: int) -> None:
    """The seed: AMR bit 62 takes read, 63 write; IAMR bit 62 execute."""
    amr = table_of("amr").decode(value).meaning.split("key 0: ")[1]
    expected = {
        (0, 0): "may read and write",
        (1, 0): "may not read ",
        (0, 1): "may not write",
        (1, 1): "may not read or write",
    }[(value >> 62 & 1, value >> 63)]
    assert expected in amr
    iamr = table_of("iamr").decode(value).meaning.split("key 0: ")[1]
    assert ("may not execute" in iamr) == bool(value >> 62 & 1)


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (0x004E0100, "POWER9 v1.0"),
        (0x004E1200, "POWER9 v2.0"),
        (0x004E1202, "POWER9 v2.2"),
        (0x00800100, "POWER10 v1.0"),
        (0x00800200, "POWER10 v2.0"),
        (0x004D0200, "POWER8 v2.0, which has no radix MMU"),
        (0x0F000005, "architected processor of ISA 3.00"),
        (0x0F000006, "architected processor of ISA 3.1"),
        (0x12345678, "unknown processor 0x1234, revision 0x5678"),
    ],
)
def test_processors(value: int, meaning: str) -> None:
    assert table_of("pvr").decode(value).meaning == meaning


def test_faults_in_words() -> None:
    assert table_of("dsisr").decode(0x42000000).meaning == "no translation found; the access was a store"
    assert table_of("dsisr").decode(0).meaning == "nothing said"
    srr1 = table_of("srr1").decode(0x8000000010009033)
    assert "kernel" in srr1.meaning
    assert "guarded" in srr1.meaning
    assert "no fetch failure" in table_of("srr1").decode(0x8000000000009033).meaning


def test_lpcr_tells_hash_from_radix() -> None:
    assert "radix host" in table_of("lpcr").decode(0x3D3F408).meaning
    assert "hash host" in table_of("lpcr").decode(0x3F008).meaning


def test_addresses() -> None:
    dar = table_of("dar").decode(0xC00A000080000000)
    assert (dar["QUADRANT"], dar.residue) == (3, 0)
    assert "segment interrupt" in table_of("nip").decode(0xC010000000000000).meaning
    assert table_of("ea").decode(0xC010000000000000).residue == 1 << 52
    assert table_of("ea").mask == bits.EA_VALID_MASK


def test_names() -> None:
    assert register_format("$MSR") is register_format("msr")
    assert register_format("pidr") is register_format("pid")
    assert register_format("r3") is None
    assert "radix PID 4" in table_of("pid").decode(4).meaning
    assert "task" not in table_of("pid").decode(4).meaning
