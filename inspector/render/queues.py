"""A virtio queue, for a person and for a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.virtio import QueueAt
from inspector.devicemaps import Where
from inspector.render.devicemaps import mapping, size_words, where_object
from inspector.render.style import Style, counted, hexadecimal
from inspector.virtio import layout, packed
from inspector.virtio.chain import Chain
from inspector.virtio.ring import Part, Queue

TOLD = 8
"""Descriptors of one chain that are told one by one."""
BRIEF = 2
"""Mappings of one ring that are."""
AT = "            "


def text(at: QueueAt, style: Style, wide: bool) -> Iterator[str]:
    """Lines of one queue; ``wide`` with its rings, indices and chains."""
    queue = at.queue
    label, name = f"queue {queue.state.index}", f"{queue.name}, " if queue.name else ""
    yield from labelled(
        label,
        f"{name}{counted(queue.state.num, 'entry').replace('entrys', 'entries')}: {_sum(queue, at.waited)}",
        style,
    )
    for each in queue.problems:
        yield from style.wrap(f"{each.slug}: {each.reason}", "    ", kind="bad")
    if not wide:
        return
    width = max((len(part.title) for part in queue.parts), default=0)
    for part in queue.parts:
        yield from _part(part, at.where.get(part.name, Where()), width, style)
    yield from _indices(queue, style)
    for chain in queue.chains:
        yield from _chain(chain, style, queue)
    for one in queue.recent:
        yield f"    made available last: {_descriptor(one, style)}"
    if queue.latest:
        heads = ", ".join(f"head {head} ({counted(length, 'byte')})" for head, length in queue.latest)
        yield from style.wrap(f"given back last: {heads}", "    ")


def labelled(label: str, said: str, style: Style) -> Iterator[str]:
    """``said`` after its label, and its further lines as far in."""
    first, *rest = style.wrap(said, AT)
    yield f"  {label:<10}{first[len(AT) :]}"
    yield from rest


def _sum(queue: Queue, waited: float | None) -> str:
    """What is going on, in a clause."""
    back = queue.available is not None and (queue.used is None or queue.used.idx == queue.available.idx)
    if queue.available is not None and back and (queue.pending, queue.taken, queue.untaken) == (0, 0, 0):
        return f"idle after {queue.available.idx}, nothing pending"
    if queue.available is None and queue.used is None and queue.packed is None:
        return f"its rings were not read; {queue.taken or 0} with the device"
    said = []
    if queue.pending is None:
        said.append("what is pending is not known")
    else:
        since = f", for {waited:.1f} s at least" if waited else ""
        said.append(f"{queue.pending} pending{since}" if queue.pending else "nothing pending")
    if queue.pending and queue.kick_due is not None:
        said.append("the driver was to notify" if queue.kick_due else "notification suppressed")
    said.append(f"{_held(queue, queue.taken)} with the device")
    if queue.untaken is None:
        said.append("what the driver has taken back is not known")
    elif queue.untaken:
        quiet = {True: ", interrupt suppressed", False: ", interrupt due", None: ""}[queue.interrupt_off]
        said.append(f"at most {_held(queue, queue.untaken)} used and not taken back{quiet}")
    else:
        said.append("all used taken back")
    return "; ".join(said)


def _held(queue: Queue, number: int | None) -> str:
    """So many of what a queue holds: in a packed ring descriptors are counted, and not buffers."""
    return str(number) if queue.packed is None or number is None else counted(number, "descriptor")


def _part(part: Part, where: Where, width: int, style: Style) -> Iterator[str]:
    real = part.real
    led = f" -> {real:#x}" if real is not None and real != part.address else ""
    ram = "RAM" if real is not None else "not read"
    line = f"{part.title:<{width}} {style('address', f'{part.address:#x}{led}')} {size_words(part.size)} {ram}"
    yield f"    {line}"
    for each in where.mapped[:BRIEF]:
        yield f"      {mapping(each, style)}"
    if where.count is not None and real is not None and not where.count:
        yield "      nothing maps it"
    elif where.count and where.count > BRIEF:
        yield f"      and {where.count - BRIEF} more; 'rmap' tells all"


def _indices(queue: Queue, style: Style) -> Iterator[str]:
    state = queue.state
    if queue.packed is not None:
        taken = "not known" if state.last_avail_idx is None else str(state.last_avail_idx)
        yield from style.wrap(
            f"packed: the device took up to {taken} and gave back up to {state.used_idx}; the driver wants "
            f"{_wanted(queue.packed.driver, 'interrupt')}, the device {_wanted(queue.packed.device, 'notification')}",
            "    ",
        )
    if queue.available is not None:
        taken = "not known" if state.last_avail_idx is None else str(state.last_avail_idx)
        off = ", wants no interrupt" if queue.available.flags & layout.NO_INTERRUPT else ""
        yield from style.wrap(
            f"available: index {queue.available.idx}, the device took up to {taken}; flags {queue.available.flags:#x}"
            f"{off}, used_event {queue.available.event}",
            "    ",
        )
    if queue.used is not None:
        off = ", wants no notification" if queue.used.flags & layout.NO_NOTIFY else ""
        signalled = f", last interrupt at {state.signalled_used}" if state.signalled_used_valid else ""
        yield from style.wrap(
            f"used: index {queue.used.idx}, the device's own {state.used_idx}{signalled}; flags "
            f"{queue.used.flags:#x}{off}, avail_event {queue.used.event}",
            "    ",
        )


def _wanted(events: packed.Events | None, what: str) -> str:
    if events is None:
        return f"it is not known which {what}"
    said = {
        packed.ENABLE: f"every {what}",
        packed.DISABLE: f"no {what}",
        packed.AT: f"one {what}, at {events.offset} (round {int(events.wrap)})",
    }
    return said.get(events.flags, f"what flags {events.flags:#x} do not tell")


def _descriptor(one: layout.Descriptor, style: Style) -> str:
    kind = "a table" if one.indirect else "device writes" if one.written else "device reads"
    more = f", then {one.next}" if one.more else ""
    return f"{one.index:<3} {style('address', f'{one.address:#x}')} {counted(one.length, 'byte')}, {kind}{more}"


def _chain(chain: Chain, style: Style, queue: Queue) -> Iterator[str]:
    yield f"    pending head {chain.head}: {counted(len(chain.links), 'descriptor')}, {counted(chain.length, 'byte')}"
    for link in chain.links[:TOLD]:
        one = link.descriptor
        kind = "table" if one.indirect else "device writes" if one.written else "device reads"
        led = "not RAM" if link.real is None else "RAM" if link.real == one.address else f"RAM at {link.real:#x}"
        where = "indirect " if link.indirect else ""
        size = counted(one.length, "byte")
        yield f"      {where}{one.index:<3} {style('address', f'{one.address:#x}')} {size}, {kind}, {led}"
    if len(chain.links) > TOLD:
        yield f"      and {len(chain.links) - TOLD} more"
    if chain.problem:
        yield from style.wrap(f"{chain.problem}: {chain.reason}", "      ", kind="bad")


def objects(at: QueueAt) -> dict[str, Any]:
    """A queue for a program."""
    queue, state = at.queue, at.queue.state
    rings = {
        part.name: {
            "address": hexadecimal(part.address),
            "ra": hexadecimal(part.real),
            "size": part.size,
            "ram": part.real is not None,
            **where_object(at.where.get(part.name, Where())),
        }
        for part in queue.parts
    }
    return {
        "queue": state.index,
        "name": queue.name or None,
        "set_up": queue.set_up,
        "entries": state.num,
        "rings": rings,
        "available": None if queue.available is None else _ring(queue.available),
        "used": None if queue.used is None else _ring(queue.used),
        "last_avail_idx": state.last_avail_idx,
        "used_idx": state.used_idx,
        "signalled_used": state.signalled_used if state.signalled_used_valid else None,
        "pending": queue.pending,
        "waited_s": None if at.waited is None else round(at.waited, 3),
        "with_device": queue.taken,
        "untaken_at_most": queue.untaken,
        "interrupt_suppressed": queue.interrupt_off,
        "notification_due": queue.kick_due,
        "chains": [_chain_object(each) for each in queue.chains],
        "given_back": [{"head": head, "bytes": length} for head, length in queue.latest],
        "recent": [
            {
                "index": one.index,
                "address": hexadecimal(one.address),
                "length": one.length,
                "device_writes": one.written,
                "indirect_table": one.indirect,
                "next": one.next if one.more else None,
            }
            for one in queue.recent
        ],
        "problems": [problem_object(each.slug, each.reason) for each in queue.problems],
        "packed": None if queue.packed is None else _packed(queue.packed),
    }


def problem_object(slug: str, reason: str) -> dict[str, str]:
    """What cannot be right, for a program."""
    return {"cause": slug, "reason": reason}


def _packed(ring: packed.Ring) -> dict[str, Any]:
    return {"driver_event": _events(ring.driver), "device_event": _events(ring.device)}


def _events(events: packed.Events | None) -> dict[str, Any] | None:
    if events is None:
        return None
    return {"flags": events.flags, "offset": events.offset, "wrap": events.wrap}


def _ring(ring: layout.Available | layout.Used) -> dict[str, Any]:
    return {"flags": ring.flags, "idx": ring.idx, "event": ring.event}


def _chain_object(chain: Chain) -> dict[str, Any]:
    return {
        "head": chain.head,
        "bytes": chain.length,
        "cause": chain.problem or None,
        "reason": chain.reason or None,
        "descriptors": [
            {
                "index": link.descriptor.index,
                "address": hexadecimal(link.descriptor.address),
                "ra": hexadecimal(link.real),
                "length": link.descriptor.length,
                "device_writes": link.descriptor.written,
                "indirect_table": link.descriptor.indirect,
                "of_indirect": link.indirect,
                "ram": link.real is not None,
            }
            for link in chain.links
        ],
    }
