"""``record``: what the command itself says of the snapshot that it has written."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.errors import FormatError, NotCaptured, RecordError, UsageError
from inspector.guest import Guest
from inspector.snapshot.write import write_snapshot
from inspector.targets.recorded import open_recorded
from inspector.triage import keeping
from tests.commands.asking import objects, session, told
from tests.commands.test_examples import too_long
from tests.commands.test_overlay import GONE, do, shown
from tests.commands.test_triage import hanging, live
from tests.commands.test_virtio import machine
from tests.fakes import FakeTarget, MiB, guest, kvm_host_target, linux_target


def test_a_folder_that_is_not_there_is_said_before_the_guest_is_looked_at(tmp_path: Path) -> None:
    target = linux_target()
    with pytest.raises(RecordError, match="was not written"):
        told(f"record {tmp_path}/none/x.core.gz --triage", target)
    assert target.source.asked == []


def test_what_was_written_and_what_is_not_in_it(tmp_path: Path) -> None:
    recorded, note = told(f"record {tmp_path}/a.core.gz")
    assert (recorded["cpus"], recorded["ram"], recorded["changing"]) == (2, linux_target().ram.total, False)
    assert "no VMCOREINFO" in note["note"]
    with inspector.open_target(tmp_path / "a.core.gz") as guest:
        assert guest.memory.ram.total == recorded["ram"]


def test_a_part_that_is_no_ram_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of this is RAM"):
        told(f"record {tmp_path}/a.core --also 0x7fffffff0000:64K")
    assert not list(tmp_path.iterdir())


def test_a_part_that_goes_on_past_ram_is_told(tmp_path: Path) -> None:
    end = linux_target().ram.spans()[-1][1]
    _, note, _ = told(f"record {tmp_path}/a.core --also {end - 4096:#x}:8K")
    assert "only 0x1000 bytes are RAM" in note["note"]


@pytest.mark.parametrize(("pool", "size"), [("", 256 * MiB), ("--pool 0x200000000:1M", MiB)])
def test_a_snapshot_tells_the_pool_apart_from_ram(pool: str, size: int, tmp_path: Path) -> None:
    at, ram = session(kvm_host_target()), kvm_host_target().ram.total
    do(at, f"overlay on {pool}")
    do(at, GONE)
    said = shown(at, f"record {tmp_path}/all.core --everything")
    assert f"{ram >> 20}M of {ram >> 20}M RAM in" in said
    assert f"besides, {size >> 20}M of {size >> 20}M of the overlay's pool" in said
    recorded = objects(do(at, f"record {tmp_path}/some.core"))[0]
    assert (recorded["ram"], recorded["pool"], recorded["pool_captured"]) == (ram + size, size, size)
    again = session(Guest(open_recorded(str(tmp_path / "all.core"))))
    assert f" of {ram >> 20}M RAM in" in shown(again, f"record {tmp_path}/again.core")


def test_a_snapshot_of_the_guest_itself_tells_of_no_pool(tmp_path: Path) -> None:
    at = session(kvm_host_target())
    assert "pool" not in shown(at, f"record {tmp_path}/a.core")
    assert "pool" not in objects(do(at, f"record {tmp_path}/b.core"))[0]
    do(at, "overlay on --pool 0x800000:1M")  # in RAM: it is of it
    assert "pool" not in shown(at, f"record {tmp_path}/c.core")


# -- what triage, virtio and why answer from it ------------------------------------------------------------------------

PLACE = ("verdict", "confidence", "cpu", "lpid", "pid", "nip", "ea", "ra", "walker", "errno", "device")


def kept(target: FakeTarget, folder: Path, words: str = "") -> tuple[Guest, list[dict[str, Any]]]:
    """The guest out of a snapshot with all that triage needs, and what was said of it."""
    path = folder / "hung.core.gz"
    said = told(f"record {path} --triage {words}", target)
    return Guest(open_recorded(str(path))), said


def findings(target: FakeTarget | Guest, words: str = "") -> list[dict[str, Any]]:
    found = [each for each in told(f"triage {words}", target) if "verdict" in each]
    for each in found:
        each.pop("stood_ms", None)  # of a snapshot nothing stood still
        each.pop("seconds", None)
        each.pop("vcpus", None)  # their code and stacks need not be in it
    return found


def test_that_more_was_read_than_is_kept_is_said_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def texts(target: FakeTarget) -> dict[str, str]:
        again, (recorded, *_) = kept(target, tmp_path, "--force")
        with again:
            assert told("info", again)[0]["contents"] == recorded["contents"]
        return {each["kind"]: each["text"] for each in recorded["contents"]}

    whole = texts(devices_with_an_indirect_table())
    assert not [each for each in whole.values() if "than is kept" in each]
    monkeypatch.setattr(keeping, "MOST_NOTED", 2)
    cut = texts(devices_with_an_indirect_table())
    assert "there is more than is kept" in cut["rings"]
    cut = texts(live(hanging())[0])
    assert "it reads more than is kept" in cut["read"]
    assert [kind for kind, text in cut.items() if "than is kept" in text] == ["read"]


def text_of(found: list[dict[str, Any]]) -> str:
    return json.dumps(found, sort_keys=True)


def test_a_hung_guest_is_diagnosed_from_its_snapshot_as_it_was(tmp_path: Path) -> None:
    asked, _ = live(hanging())
    (before,) = findings(asked, "--seconds 0.01")
    target, _ = live(hanging())
    again, (recorded, *notes) = kept(target, tmp_path, "--seconds 0.01")
    with again:
        (found,) = findings(again)
        assert {name: found[name] for name in PLACE} == {name: before[name] for name in PLACE}
        assert (found["verdict"], found["confidence"]) == ("software-walk-fails", "high")
        assert recorded["findings"] == [{"verdict": "software-walk-fails", "confidence": "high"}]
        for words in (f"why {found['nip']} --lpid 1 --pid 5", f"why {found['ea']} --lpid 1 --pid 5"):
            assert text_of(told(words, again)) == text_of(told(words, target))
    assert any("stood still" in each["note"] for each in notes)


def devices_with_an_indirect_table() -> FakeTarget:
    """Its queue has a chain of three buffers pending, at 44M, by a table at 36M + 64K."""
    target = machine()
    target.source.put(0x23B_0802, (2).to_bytes(2, "little"))  # a head is pending
    target.source.put(0x23B_0000, bytes.fromhex("0000410200000000 3000000004000000"))  # an indirect table at 36M+64K
    for number, flags in ((0, 1), (1, 1), (2, 0)):
        one = (44 * MiB + 4096 * number).to_bytes(8, "little") + bytes.fromhex(f"00010000 0{flags}00 0{number + 1}00")
        target.source.put(36 * MiB + 65536 + 16 * number, one)
    target.source.put(44 * MiB, b"what the user keeps to herself")
    return target


def test_devices_are_told_of_as_they_were(tmp_path: Path) -> None:
    target = devices_with_an_indirect_table()
    before = told("virtio", target)
    again, (recorded, *_) = kept(target, tmp_path)
    with again:
        after = told("virtio", again)
        assert {each.pop("source") for each in after if "virtio" in each} == {"recorded"}
        for each in before:
            each.pop("source", None)
        for queue in (queue for each in (*before, *after) for queue in each.get("queues", ())):
            queue.pop("waited_s", None)  # that is of who looks on
        assert text_of(after) == text_of(before)
        assert "0x2c00000" in text_of(after), "the chain is in it"
        for buffer in range(44 * MiB, 44 * MiB + 3 * 4096, 4096):
            with pytest.raises(NotCaptured):
                again.memory.read(buffer, 1)
        with pytest.raises(NotCaptured):
            again.memory.read(36 * MiB + 65536 + 48, 1)
        assert text_of(findings(again)) == text_of(findings(target))
    kinds = {each["kind"]: each["size"] for each in recorded["contents"]}
    assert {"tables", "registers", "virtio", "rings"} <= set(kinds)
    assert 0 < kinds["rings"] < 16384


def test_what_is_in_it_is_told_before_and_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target, control = live(hanging(), found=False)
    path = Path("a.core.gz")
    would = shown_of(f"record {path} --triage --dry-run", target)
    assert "was not written" in would
    assert not path.exists()
    did = shown_of(f"record {path} --triage", target)
    with inspector.open_target(path) as seen:
        info = shown_of("info", seen)
        listed = told("info", seen)[0]["contents"]
    for said in (would, did, info):
        words = " ".join(said.split())
        assert "page tables" in words
        assert "code of the program of PID 5 in the guest of LPID 1" in words
        assert "the registers of 2 vCPUs" in words
        assert too_long(said.splitlines()) == []
    assert "software-walk-fails" in did
    assert [each["kind"] for each in listed].count("code") >= 1
    assert "resume" not in control.calls


def shown_of(words: str, target: FakeTarget | Guest) -> str:
    return shown(session(target), words)


def test_code_and_stacks_may_be_left_out(tmp_path: Path) -> None:
    target, _ = live(hanging())
    whole, (recorded, *_) = kept(target, tmp_path)
    whole.close()
    assert "code" in [each["kind"] for each in recorded["contents"]]
    bare, (recorded, *_) = kept(target, tmp_path, "--no-code --force")
    with bare:
        assert {each["kind"] for each in recorded["contents"]} <= {"tables", "registers", "rings", "virtio"}
        (found,) = findings(bare)
        assert (found["verdict"], found["lpid"]) == ("software-walk-fails", 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--seconds 1", "--triage"),
        ("--no-code", "--triage"),
        ("--triage --everything --no-code", "all RAM"),
        ("--triage --seconds soon", "from 0 to 60"),
    ],
)
def test_words_that_do_not_go_together(words: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        told(f"record {tmp_path}/a.core {words}")


def test_a_file_that_is_there_is_said_before_the_guest_is_sampled(tmp_path: Path) -> None:
    target, control = live(hanging())
    (tmp_path / "a.core").touch()
    with pytest.raises(RecordError, match="already there"):
        told(f"record {tmp_path}/a.core --triage --seconds 0.01", target)
    assert control.calls == []


def test_all_ram_with_what_triage_goes_by(tmp_path: Path) -> None:
    target, _ = live(hanging())
    again, (recorded, *_) = kept(target, tmp_path, "--everything")
    with again:
        assert next(each["kind"] for each in recorded["contents"]) == "ram"
        assert findings(again)[0]["verdict"] == "software-walk-fails"


@pytest.mark.parametrize("words", ["", "--everything"])
def test_how_long_it_stood_is_told_with_the_writing_where_it_stands_for_that(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a guest that stands since it was attached to, all since then; one that runs runs on while a small file is
    written. The clock makes leaps of an hour, beside which nothing that is done here takes any time."""
    leaps, hour = [0.0], 3600.0
    clock = time.monotonic
    monkeypatch.setattr("time.monotonic", lambda: clock() + leaps[0])

    def write(*of: Any, **named: Any) -> Any:
        leaps[0] += hour
        return write_snapshot(*of, **named)

    monkeypatch.setattr("inspector.snapshot.write.write_snapshot", write)

    def hours(target: FakeTarget, *, alone: bool = False) -> int:
        at = session(target)
        at.alone = alone
        told_of = objects(do(at, f"record {tmp_path}/a.core --triage --seconds 0.01 --force {words}"))
        (note,) = (each["note"] for each in told_of if "stood still" in each.get("note", ""))
        return round(int(note.split()[-2]) / 1000 / hour)

    attached, control = live(hanging())
    attached.standing_since = time.monotonic() - 2 * hour
    assert hours(attached, alone=True) == 3
    attached.standing_since = time.monotonic() - 2 * hour
    assert hours(attached) == 1, "it stood for other things as well"
    control.resume()
    assert hours(attached, alone=True) == (1 if words else 0)
    assert guest(attached).running


def test_a_snapshot_recorded_again_says_the_same(tmp_path: Path) -> None:
    target, _ = live(hanging())
    first, _ = kept(target, tmp_path, "--seconds 0.01")
    with first:
        (recorded, *_) = told(f"record {tmp_path}/again.core --triage", first)
        with inspector.open_target(tmp_path / "again.core") as again:
            assert text_of(findings(again)) == text_of(findings(first))
            assert recorded["contents"] == told("info", first)[0]["contents"]


def test_a_wrong_one_is_refused_in_a_sentence(tmp_path: Path) -> None:
    from inspector.recording import More, recording_of
    from inspector.snapshot.write import write_snapshot

    for name, more in (("triage", More(triage={"version": 1})), ("virtio", More(virtio={"version": 1}))):
        with inspector.open_target("demo") as demo:
            write_snapshot(str(tmp_path / f"{name}.core"), recording_of(demo, more=more))
        with inspector.open_target(tmp_path / f"{name}.core") as wrong, pytest.raises(FormatError, match="is wrong"):
            told(name, wrong)
