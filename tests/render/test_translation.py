"""The answers of xlate through two stages, as a person reads them."""

from __future__ import annotations

from dataclasses import replace

from inspector.commands.translation import Xlate
from inspector.radix import walk
from inspector.radix.translation import Translation
from inspector.render import translation
from inspector.render.style import Style
from tests.radix.trees import DR, EA, IR, LEAF, READ, VALID, R, partitioned

PLAIN = Style()


def lines(answer: Translation) -> list[str]:
    return list(translation.text(Xlate(answer, None, True), PLAIN))


def test_each_walk_of_the_second_stage_says_what_it_is_for() -> None:
    world, _ = partitioned(VALID | LEAF | READ | R | 0x1F_5000)
    answer = walk.translate(world.reader(), world.context, EA)
    told = [line.split("  for the ")[1] for line in lines(answer) if "  for the " in line]
    assert told[0] == "process-table entry"
    assert "the" not in " ".join(told).split()


def test_a_real_address_of_a_guest_has_a_page_of_the_hosts() -> None:
    world, space = partitioned(host_shift=21)
    host = space.at(0x20_0008)
    context = replace(world.context, msr=(world.context.msr or 0) & ~(IR | DR))
    head = lines(walk.translate(world.reader(), context, 0x20_0008))[0]
    assert head == f"0x200008 -> {host:#x}  2M rwx  LPID 3 real mode"


def test_a_real_address_of_the_host_has_no_page() -> None:
    world, _ = partitioned(lpid=0)
    context = replace(world.context, msr=1 << 63 | 1 << 60)
    assert lines(walk.translate(world.reader(), context, 0x20_0008))[0] == "0x200008 -> 0x200008  rwx  real mode"
