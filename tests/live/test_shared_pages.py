"""Memory that KVM guests share, seen from the host's side: by its real address, and by an audit."""

from __future__ import annotations

from contextlib import closing

import pytest

from scripts.monitor import VIRTUAL
from scripts.scene import Scene
from tests.commands.asking import objects, session
from tests.live.image import Image

pytestmark = pytest.mark.live
READ_BY_SECOND = 0x2900_0000
"""EA at which PID 5 of the second guest has what the first writes at guest real 0x60000000."""


def test_a_shared_page_is_told_with_each_guest_that_has_it(scene: Scene) -> None:
    from inspector.commands.registry import run

    first, second = scene.guests[:2]
    stored = next(each for each in first.stored if each.gpa >> 16 == 0x6000)
    inside = stored.gpa & 0xFFFF
    second.monitor.ask(f"load 5 {READ_BY_SECOND + inside:x} 0 {VIRTUAL:x}")
    with closing(Image(scene.machine)) as image:
        ra = image.translate(stored.ea, stored.msr, pid=5, lpidr=first.lpid).ra
        assert ra is not None
        at = session(image.guest)
        found = objects(list(run(at, ["rmap", hex(ra)])))
        guests = {each["lpid"]: each["ea"] for each in found if each["pid"] is None}
        assert guests == {first.lpid: hex(stored.gpa), second.lpid: hex(0x9000_0000 + inside)}
        assert {each["pid"] for each in found if each["lpid"] == 0} > {0}, "its monitors map it too"
        led = objects(list(run(at, ["rmap", hex(ra), "--lpid", str(second.lpid)])))
        assert (hex(READ_BY_SECOND + inside), hex(0x9000_0000 + inside)) in {(each["ea"], each["gra"]) for each in led}
        audited = objects(list(run(at, ["audit", "--partition", "--rule", "host-page-shared", "--limit", "100"])))
        shared = {(each["lpid"], each["ra"]) for each in audited if "rule" in each}
        assert {(first.lpid, hex(ra & ~0xFFFF)), (second.lpid, hex(ra & ~0xFFFF))} <= shared


def test_nothing_is_wrong_with_what_kvm_has_behind_its_guests(scene: Scene) -> None:
    from inspector.commands.registry import run

    with closing(Image(scene.machine)) as image:
        (end,) = objects(list(run(session(image.guest), ["audit", "--partition"])))
    assert end["summary"] == {"error": 0, "warning": 0, "info": 0}
    assert end["trees"] == len(scene.guests)
