"""Flat images as a target, and the words that name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspector.errors import FormatError, UsageError
from inspector.targets.base import RunState, Target
from inspector.targets.raw import open_raw, parse_image


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("raw:ram.img", ("ram.img", 0)),
        ("ram.img", ("ram.img", 0)),
        ("raw:ram.img@0x40000000", ("ram.img", 0x40000000)),
        ("raw:ram.img@4096", ("ram.img", 4096)),
        ("raw:me@home/ram.img", ("me@home/ram.img", 0)),
        ("raw:a@b@0x10", ("a@b", 0x10)),
        ("raw:ram@", ("ram@", 0)),
        ("raw:@0x10", ("@0x10", 0)),
        ("raw:raw:x", ("raw:x", 0)),
    ],
)
def test_the_last_at_parts_an_address_off_if_a_number_follows(word: str, expected: tuple[str, int]) -> None:
    assert parse_image(word) == expected


def test_a_file_of_that_very_name_is_taken_as_it_is(tmp_path: Path) -> None:
    odd = tmp_path / "ram@0x1000"
    odd.write_bytes(b"x")
    assert parse_image(f"raw:{odd}") == (str(odd), 0)
    assert parse_image(f"raw:{odd}@0x20") == (str(odd), 0x20)


@pytest.mark.parametrize("word", ["raw:", "", "raw:x@0x10000000000000000", "raw:x@-1"])
def test_words_that_name_nothing_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="write raw:"):
        parse_image(word)


def test_it_is_a_target_whose_ram_is_its_images(tmp_path: Path) -> None:
    low, high, regs = tmp_path / "low", tmp_path / "high", tmp_path / "regs.json"
    low.write_bytes(b"low!")
    high.write_bytes(b"high")
    regs.write_text('{"cpus": [{"pid": "0x4"}, {"cpu": 5, "nip": 256}], "process_table": "0x8000000000400000"}')
    target: Target = open_raw([(str(low), 0), (str(high), 1 << 40)], str(regs))
    assert [(r.start, r.size) for r in target.ram] == [(0, 4), (1 << 40, 4)]
    assert target.source.read(1 << 40, 4) == b"high"
    assert tuple(target.cpus) == (0, 5)
    assert target.registers(0).values == {"pid": 4}
    assert target.registers(5).values == {"nip": 256}
    assert target.known_roots.process_table == 0x8000000000400000
    assert "regs.json" in target.known_roots.how
    assert target.state is RunState.RECORDED
    assert target.control is None
    assert target.machine["kind"] == "raw"
    target.close()
    target.close()


def test_without_registers_there_is_one_vcpu_of_which_nothing_is_known(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"x")
    target = open_raw([(str(image), 0)])
    assert tuple(target.cpus) == (0,)
    assert target.registers(0).values == {}
    with pytest.raises(UsageError):
        target.registers(1)
    assert target.known_roots.process_table is None


def test_what_is_no_image_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        open_raw([(str(tmp_path / "none"), 0)])
    with pytest.raises(FormatError, match="a directory"):
        open_raw([(str(tmp_path), 0)])
