"""What a report holds: all that some processes map, who owns RAM, registers and roots, at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from inspector.guest import CHANGING, Guest
from inspector.linux.regions import REGIONS, region_named
from inspector.memory.physical import RamMap, Range
from inspector.partitions import PARTITION_TABLE
from inspector.radix.bits import ATT_NAMES, KERNEL_PID, PTCR_PATB, PTCR_PATS, RPDB_MASK, table_bytes
from inspector.radix.fields import size_text
from inspector.radix.registers import register_format
from inspector.snapshot.jsonsafe import plain, text
from inspector.spaces import Spaces
from inspector.targets.base import CORE, FAULT, GENERAL, MMU

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inspector.mappings.audit.finding import Finding, Report
    from inspector.mappings.owners import Owners
    from inspector.mappings.ranges import Ranges

FORMAT = 1
"""Of what a page holds: it grows with any change that an older reader of pages would misread."""
MOST_RANGES = 1_000_000
"""Ranges that a page holds where nothing else is said: a browser is quick with a tenth, and can bear this."""
FINDINGS_TOLD = 200
"""Findings of a rule that a page tells one by one; the last of them says how many more there are."""
REGISTER_GROUPS: Sequence[tuple[str, Sequence[str]]] = (
    ("where it is", CORE),
    ("where addresses go", MMU),
    ("why one did not", FAULT),
    ("general", GENERAL),
)
OWNER_NAMES = (
    "not mapped",
    "linear map only",
    "kernel, outside the linear map too",
    "one process",
    "several processes",
    "page tables",
    "process or partition table",
)
"""In the order of :class:`inspector.mappings.owners.Owner`."""
BEHIND_OWNERS = {"one process": "one guest", "several processes": "several guests"}
"""What some of these are where the trees are partitions'."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a page: ``facts`` as JSON has them, ``columns`` by name. ``left_out`` counts ranges beyond what
    was asked for."""

    title: str
    facts: dict[str, Any]
    columns: dict[str, NDArray[Any]]
    ranges: int
    left_out: int
    findings: int


@dataclass(frozen=True, slots=True)
class Written:
    """A page on the disk: its path and bytes, and how many ranges, processes and findings it shows."""

    path: str
    file_size: int
    ranges: int
    left_out: int
    processes: int
    findings: int


def contents(
    guest: Guest,
    spaces: Spaces,
    audited: Report | None = None,
    *,
    notes: Iterable[str] = (),
    most: int = MOST_RANGES,
    now: datetime | None = None,
) -> Contents:
    """What a report on these address spaces holds, ``most`` ranges at most. ``audited`` is what an audit of them
    found; ``notes`` is what else should be known. ``now`` is when it was made."""
    gathered = spaces.gathered(keep_partial=True)
    ranges = gathered.ranges
    left_out = max(len(ranges) - most, 0)
    owned = _owners(guest, spaces, ranges)
    shown = ranges.take(slice(0, most))
    flags, columns = _columns(shown, owned, spaces)
    moment = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    said = [*_missing(guest, spaces), *notes]
    if gathered.interrupted and not spaces.interrupted:
        said.append("Interrupted while ranges were put together: there may be more.")
    if gathered.cut:
        said.append("There are more ranges than can be kept here, and the rest is left out.")
    if left_out:
        said.append(f"Only the first {most:,} of {len(ranges):,} ranges are in this page; --limit N takes more.")
    findings = [] if audited is None else audited.findings
    found = 0 if audited is None else sum(audited.counts.values())
    if audited is None:
        said.append("No audit was made.")
    facts = {
        "format": FORMAT,
        "target": text(spaces.name),
        "state": guest.target.state.value,
        "source": text(guest.target.source.description),
        "made": moment,
        "machine": [[text(str(key)), _said(value)] for key, value in plain(dict(guest.target.machine)).items()],
        "roots": _roots(guest),
        "process_table": [_in_the_host(spaces, spaces.table[0]) or hex(spaces.table[0]), spaces.table[1]],
        "ram": [[hex(start), hex(end)] for start, end in spaces.ram.spans()],
        "ram_names": [[hex(each.start), hex(each.end), text(each.name)] for each in spaces.ram],
        "processes": list(_trees(spaces)),
        "regions": [[each.name, hex(each.start), hex(each.end)] for each in REGIONS],
        "attributes": list(ATT_NAMES.values()),
        "owners": [BEHIND_OWNERS.get(each, each) for each in OWNER_NAMES] if _behind(spaces) else list(OWNER_NAMES),
        "flags": flags,
        "registers": list(_registers(guest)),
        "findings": [_finding(each, spaces) for each in findings],
        "found": found,
        "severities": {} if audited is None else dict(audited.by_severity),
        "rules": 0 if audited is None else len(audited.rules),
        "notes": [text(each) for each in said],
    }
    return Contents(text(spaces.name) or "", facts, columns, len(shown), left_out, found)


def write(path: str, what: Contents, *, force: bool = False) -> Written:
    """Write the page. Raises RecordError where it is there already and not ``force``, or cannot be written; what was
    there is untouched until the new page is whole."""
    from inspector.report.columns import pack
    from inspector.report.page import page
    from inspector.snapshot.output import replacing

    with replacing(path, force) as output:
        places, packed = pack(what.columns)
        output.write(page(f"{what.title}: page tables", {**what.facts, "columns": places}, packed))
        size = output.finish()
    return Written(path, size, what.ranges, what.left_out, len(what.facts["processes"]), what.findings)


def _behind(spaces: Spaces) -> bool:
    """Whether the trees are what a host has behind its guests."""
    return bool(spaces.roots) and all(each.pid is None for each in spaces.roots)


def _trees(spaces: Spaces) -> Iterator[dict[str, Any]]:
    """Every tree: whose it is (``pid`` None: the partition's), and the entry that leads to it."""
    for tree, root in zip(spaces.trees, spaces.roots, strict=True):
        yield {
            "pid": root.pid,
            "lpid": root.lpid,
            "base": hex(root.base),
            "address": _in_the_host(spaces, tree.address),
            "entry": hex(root.descriptor),
            "root": _in_the_host(spaces, root.descriptor & RPDB_MASK),
        }


def _owners(guest: Guest, spaces: Spaces, ranges: Ranges) -> Owners:
    import numpy as np

    from inspector.mappings.owners import owners
    from inspector.mappings.tablepages import in_the_host

    tables, table = in_the_host(spaces.sweep.tables(), spaces.table, spaces.behind)
    descriptors = [] if table is None else [(table[0], table[0] + table[1])]
    ptcr = guest.roots.ptcr
    if ptcr:
        base = ptcr & PTCR_PATB
        descriptors.append((base, base + table_bytes(ptcr & PTCR_PATS)))
    linear = region_named("linear map")
    ends = (tables.address, tables.address + tables.length.astype(np.uint64))
    return owners(ranges, ends, descriptors, spaces.ram.spans(), (linear.start, linear.end))


def _columns(ranges: Ranges, owned: Owners, spaces: Spaces) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """What each value of the flags means, and the columns: of ranges by tree and address, and of owners by address."""
    import numpy as np

    from inspector.mappings.select import covered
    from inspector.report.columns import exact, smallest

    values, which = np.unique(ranges.flags, return_inverse=True)
    columns = {
        "root": smallest(ranges.root),
        "offset": exact(ranges.offset),
        "ra": exact(ranges.ra),
        "count": exact(ranges.count),
        "shift": ranges.shift,
        "flags": smallest(which),
        "in_ram": covered(ranges.ra, ranges.size, spaces.ram.spans()).astype(np.uint8),
        "owner_start": exact(owned.start),
        "owner_end": exact(owned.end),
        "owner_kind": owned.kind,
        "owner_root": owned.root,
        "owner_in_ram": owned.in_ram.astype(np.uint8),
    }
    if ranges.gra is not None:
        columns["gra"] = exact(ranges.gra)
    return _flags(values), columns


def _flags(values: NDArray[Any]) -> list[dict[str, Any]]:
    """What each of these says. ``letters`` are those of the language of rights that hold, so that a page asks what the
    command line asks."""
    from inspector.mappings.rights import LETTERS
    from inspector.mappings.runs import Run

    holds = {letter: question(values) for letter, question in LETTERS.items()}
    found = []
    for row, value in enumerate(values.tolist()):
        run = Run(0, 0, 0, 0, 12, value, 1)
        marks = f"{'R' if run.accessed else '-'}{'C' if run.dirty else '-'}"
        found.append(
            {
                "raw": hex(value),
                "letters": "".join(letter for letter, answers in holds.items() if answers[row]),
                "shown": f"{run.rights}{'p' if run.privileged else '-'} {marks}",
                "attribute": ATT_NAMES[run.attribute],
                "unknown": hex(run.unknown_flags) if run.unknown_flags else None,
            }
        )
    return found


def _registers(guest: Guest) -> Iterator[dict[str, Any]]:
    """Every vCPU's, by what they are for: [name, value or None, what it says or None]. None while it runs."""
    if guest.running:
        return
    for cpu in guest.target.cpus:
        known = guest.registers(cpu)
        groups = []
        for head, names in REGISTER_GROUPS:
            rows = []
            for name in names:
                value, form = known.get(name), register_format(name)
                meaning = form.decode(value).meaning if value is not None and form is not None else None
                rows.append([name, None if value is None else f"{value:#018x}", meaning])
            groups.append([head, rows])
        yield {"cpu": cpu, "chosen": cpu == guest.cpu, "groups": groups}


def _roots(guest: Guest) -> dict[str, Any]:
    found = guest.roots
    return {
        "state": found.state,
        "explanation": text(found.explanation),
        "how": text(found.how),
        "sure": found.sure,
        "process_table": None if found.process_table is None else hex(found.process_table),
        "ptcr": None if found.ptcr is None else hex(found.ptcr),
        "tried": [[text(each.way), text(each.outcome)] for each in found.attempts],
    }


def _missing(guest: Guest, spaces: Spaces) -> Iterator[str]:
    """What is not in the page, or not sure."""
    if spaces.changing:
        yield _sentence(CHANGING)
    if guest.running:
        yield "The guest runs, so that its registers cannot be read."
    if spaces.interrupted:
        yield "Interrupted: only what was read until then is shown here, and there may be more."
    if spaces.too_large:
        yield "These tables are larger than can be kept here."
    if spaces.missed.first is not None:
        ids = "LPIDs" if spaces.missed.table == PARTITION_TABLE else "PIDs"
        yield (
            f"{spaces.missed.length:#x} bytes of the {spaces.missed.name} from {spaces.missed.where} on "
            f"could not be read, so {ids} may be missing: {spaces.missed.first.why}."
        )
    for absent in spaces.absent:
        yield _sentence(absent.reason)
    if any(each.pid is None and each.lpid for each in spaces.roots):
        yield "Addresses that an LPID maps are guest real: these are what the host has behind its KVM guests."
    if spaces.behind is not None:
        yield (
            "These are processes of a KVM guest, led on to the host's real memory, which is the RAM shown; what "
            "entries say, and the words of findings, have the guest's own real addresses."
        )
        unbacked = 0 if spaces.holes is None else int(spaces.holes.size.sum())
        if unbacked:
            least = "at least " if spaces.gathered_holes is not None and spaces.gathered_holes.cut else ""
            yield f"The host has nothing behind {least}{size_text(unbacked)} that they map, and these are not shown."
    if all(each.pid not in (KERNEL_PID, None) for each in spaces.roots):
        yield "The kernel's tree (PID 0) was not asked for: what only the kernel maps is shown as not mapped."
    captured = guest.memory.captured
    if captured is not None:
        runs = RamMap(Range(*run) for run in (*captured, *guest.memory.zeros))
        held = sum(end - start for low, high in spaces.ram.spans() for start, end in runs.within(low, high - low))
        if held < spaces.ram.total:
            total = size_text(spaces.ram.total)
            yield f"Recorded: {size_text(held)} of {total} RAM are in it; the rest was not captured."


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"


def _in_the_host(spaces: Spaces, address: int | None) -> str | None:
    """A real address as the page has it: the host's, None where it has nothing behind a guest's."""
    if address is None or spaces.behind is None:
        return None if address is None else hex(address)
    span = spaces.behind.span(address)
    return None if span is None else hex(span[0])


def _finding(found: Finding, spaces: Spaces) -> dict[str, Any]:
    """As a page has it: addresses as text, words without what steers a terminal."""
    more = f" (and {found.more:,} more of this rule)" if found.more else ""

    def address(value: int | None) -> str | None:
        return None if value is None else hex(value)

    return {
        "severity": found.severity,
        "rule": found.rule,
        "explanation": text(found.explanation + more),
        "lpid": found.lpid,
        "pid": found.pid,
        "ea": address(found.ea),
        "ra": _in_the_host(spaces, found.ra),
        "size": found.size,
        "entry": address(found.entry),
        "entry_address": _in_the_host(spaces, found.entry_address),
        "meaning": text(found.meaning),
    }


def _said(value: object) -> str:
    """What a target says of itself, for a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not known"
    return ", ".join(map(_said, value)) if isinstance(value, list | tuple) else text(str(value)) or ""
