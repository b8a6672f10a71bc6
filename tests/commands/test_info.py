"""``info``: what a target says of itself, in words for a person and as it is for a program."""

from __future__ import annotations

from tests.commands.asking import shown, told
from tests.fakes import linux_target


def test_what_a_target_knows_of_itself() -> None:
    target = linux_target()
    target.machine = {"found_running": True, "vmcoreinfo": False, "qemu": None, "images": ["a@0x0", "b@0x1000"]}
    (answer,) = told("info", target)
    assert answer["machine"] == target.machine
    rows = dict(line.split("  ", 1) for line in shown("info", target).splitlines() if not line.startswith(" "))
    said = {name.strip(): value.strip() for name, value in rows.items()}
    assert said["found running"] == "yes"
    assert said["vmcoreinfo"] == "no"
    assert said["qemu"] == "not known"
    assert said["images"] == "a@0x0, b@0x1000"
    assert said["RAM reads"].endswith("the RAM map refused 0")
