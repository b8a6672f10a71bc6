"""Record guests that hang, each in a way of its own, into small snapshots with all that triage goes by, so that it can
be held to them where no guest can be booted.

Of Debian's guest (scripts/hangs.py) there is no code and no stack in them, as these are not this project's; of the
bring-up guest (scripts/bringuphangs.py) there is. ``hangs.json`` says of each which cause is right, how sure triage can
be of it, and what else it may tell beside it.

python -P -m scripts.recordhangs FOLDER [NAME…]     all of them where none is named; exit status 1 where one is not
told as it should be"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import inspector
from inspector.errors import ProtocolError
from inspector.recording import recording_of
from inspector.snapshot.write import write_snapshot
from inspector.triage.found import HEALTHY, Confidence
from inspector.triage.keeping import all_code, kept, no_code
from scripts.bringup import Bringup, MachineName
from scripts.bringuphangs import places, set_up
from scripts.guests import Machine
from scripts.hangs import WAYS, Way, hung_guest
from scripts.hangsguest import HungGuest
from scripts.hangspacked import PACKED_WAYS

INDEX = "hangs.json"
SECONDS, BRIEF = 1.5, 0.3
"""For how long a guest is looked on; the bring-up guest has nothing else to do than to hang."""
NEED_CODE = ("empty-root",)
"""Ways that triage names by the instruction of the kernel's that is refused, which is not to be recorded."""


@dataclass(frozen=True, slots=True)
class Told:
    """What triage is to say of one, ``first`` and so ``sure``, and ``beside`` that at most; what was done to it; and
    what it says (slug, confidence)."""

    first: str
    sure: Confidence
    beside: tuple[str, ...]
    what: str
    said: tuple[tuple[str, Confidence], ...]

    @property
    def right(self) -> bool:
        """Whether it says what it is to."""
        first, *more = self.said
        return first == (self.first, self.sure) and {slug for slug, _ in more} <= set(self.beside)


def main(words: Sequence[str]) -> int:
    """Record those named, or all of them."""
    folder, names = Path(words[0]), words[1:]
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / INDEX
    known = json.loads(index.read_text()) if index.exists() else {}
    wrong = 0
    for name, told in chain(of_debian(folder, names), of_bringup(folder, names)):
        size = (folder / f"{name}.core.gz").stat().st_size
        wrong += not told.right
        said = ", ".join(f"{slug} ({sure})" for slug, sure in told.said)
        print(f"{name}: {size} bytes, {said}{'' if told.right else f', and not {told.first}'}", file=sys.stderr)
        known[name] = {
            "verdict": told.first,
            "confidence": told.sure,
            "beside": list(told.beside),
            "what": told.what,
        }
        index.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    return int(bool(wrong))


def wanted(name: str, names: Sequence[str]) -> bool:
    """Whether it is asked for."""
    return not names or name in names


def of_debian(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Told]]:
    """Each way on a guest of its own."""
    for way in (each for each in chain(WAYS.values(), PACKED_WAYS.values()) if each.name not in NEED_CODE):
        name = f"debian-{way.name}"
        if not wanted(name, names):
            continue
        with hung_guest([way]) as hung:
            hang(hung, way)
            said = write(folder / f"{name}.core.gz", hung.machine, code=False)
        yield name, Told(way.slug, way.sure, way.beside, f"Debian's guest: {way.what}", said)


def hang(guest: HungGuest, way: Way) -> None:
    """Hang it, and wait until that is to be seen. Raises ProtocolError where it does not hang."""
    if way.of == "process" and way.ends:  # it is killed as soon as it goes on
        way.how(guest, way.device)
        return
    mark = way.apply(guest)
    hangs = guest.until(lambda: guest.outcome(mark) is not None) if way.ends else guest.comes_not(mark)
    if not hangs or (way.says and not guest.has_said(way.says)):
        raise ProtocolError(f"{way.name} did not hang the guest; boot it again")


def of_bringup(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Told]]:
    """One of each cause, on the machine where it comes first."""
    machines: tuple[MachineName, ...] = ("pseries", "powernv9")
    taken: set[str] = set()
    for machine in machines:
        chosen = {}
        for number, (hang, _) in enumerate(places(machine)):
            name = f"bringup-{hang.slug}"
            if name not in taken and wanted(name, names):
                taken.add(name)
                chosen[number] = name
        if not chosen:
            continue
        with Bringup(machine) as bringup:
            placed = set_up(bringup, machine)
            bringup.begin([each.access for each in placed])
            for number, name in chosen.items():
                bringup.hang_at(number)
                table = placed[number].access.table if machine == "pseries" else None
                said = write(folder / f"{name}.core.gz", bringup.machine, code=True, table=table)
                hang = placed[number].hang
                sure: Confidence = "medium" if hang.slug == HEALTHY else "high"
                yield name, Told(hang.slug, sure, (), f"the bring-up guest on {machine}: {hang.name}", said)


def write(path: Path, machine: Machine, *, code: bool, table: int | None = None) -> tuple[tuple[str, Confidence], ...]:
    """Record a guest, and leave it as it was; what triage says of the file."""
    with inspector.open_target(machine.target, ram=str(machine.ram_file), process_table=table) as seen:
        keeping = kept(seen, BRIEF if code else SECONDS, all_code if code else no_code)
        write_snapshot(str(path), recording_of(seen, more=keeping.more), force=True)
    with inspector.open_target(path) as again:
        return tuple((each.cause.slug, each.found.confidence) for each in kept(again).found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
