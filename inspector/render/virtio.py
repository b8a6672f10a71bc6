"""The answers of ``virtio``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.virtio import Device, Nothing, QueueAt
from inspector.devicemaps import BarAt, Mapped, Where
from inspector.radix.bits import ATT_NAMES
from inspector.radix.oddities import tree_name
from inspector.render.style import Style, counted, hexadecimal, safe, short_size
from inspector.virtio import layout, packed, words
from inspector.virtio.chain import Chain
from inspector.virtio.pci import part_words
from inspector.virtio.ring import NAMES, Part, Queue

TOLD = 8
"""Mappings of one thing, and descriptors of one chain, that are told one by one."""
BRIEF = 2
AT = "            "


def text(result: Device | Nothing, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Nothing):
        yield from style.wrap(result.reason)
        return
    state = result.state
    kind = words.DEVICES.get(state.device_id, f"of type {state.device_id}")
    place = f"{state.slot} " if state.slot else ""
    yield style("head", f"{safe(place)}{safe(state.name)}") + f"  {kind}, {'little' if state.little else 'big'}-endian"
    yield from style.wrap(safe(state.path), "  ", kind="dim")
    for each in result.problems:
        yield from style.wrap(f"{each.slug}: {each.reason}", "  ", kind="bad")
    yield from _bits(result, style)
    for bar in result.bars:
        yield from _bar(bar, style, result.wide)
    for queue in result.queues:
        if queue.queue.set_up:
            yield from _queue(queue, style, result.wide)
    if idle := [each.queue.state.index for each in result.queues if not each.queue.set_up]:
        yield from style.wrap(f"not set up by the driver: queue {_spans(idle)}", "  ")
    if not result.queues and not state.vhost:
        yield "  no queues"
    for remark in result.remarks:
        yield from style.wrap(remark, "  ", kind="dim")


def _bits(result: Device, style: Style) -> Iterator[str]:
    state = result.state
    status, features = list(words.status_bits(state.status)), list(words.feature_bits(state.device_id, state.features))
    if not result.wide:
        yield from _labelled("status", _names(status) or "reset", style)
        yield from _labelled("features", _names(features) or "none", style)
        return
    yield f"  status    {style('value', f'{state.status:#x}')}{'' if status else '  reset'}"
    for bit in status:
        yield f"    {bit.name or f'bit {bit.number}':<12} {bit.says or 'not known'}"
    yield f"  features  {style('value', f'{state.features:#x}')} of {state.offered:#x} offered"
    for bit in features:
        yield f"    {bit.number:>2} {_short(bit.name) or 'not known':<20} {bit.says}".rstrip()
    if state.others:
        yield from _labelled("also", ", ".join(state.others), style)


def _names(bits: list[words.Bit]) -> str:
    return ", ".join(_short(bit.name) or f"bit {bit.number}" for bit in bits)


def _short(name: str) -> str:
    return name.partition("_F_")[2] or name


def _labelled(label: str, said: str, style: Style) -> Iterator[str]:
    first, *rest = style.wrap(said, AT)
    yield f"  {label:<10}{first[len(AT) :]}"
    yield from rest


# -- BARs --------------------------------------------------------------------------------------------------------------


def _bar(each: BarAt, style: Style, wide: bool) -> Iterator[str]:
    bar, where = each.bar, each.where
    at = "no address of a CPU's is known" if bar.real is None else style("address", f"{bar.real:#x}")
    kind = "I/O ports" if bar.io else short_size(bar.size)
    yield f"  {f'BAR {bar.number}':<10}{at}  {kind}{'' if bar.io or bar.real is None else f', {_how(where)}'}"
    if not wide:
        return
    for part in bar.parts:
        yield f"    {style('address', f'{part.start:#x}')} {short_size(part.size):>4}  {part_words(safe(part.name))}"
    yield from _mappings(where, style, "    ")


def _how(where: Where) -> str:
    """How many mappings, and whether as I/O."""
    if where.count is None:
        return "the tables were not read"
    if not where.count:
        return "not mapped"
    marked = sum(each.io for each in where.mapped)
    all_of = "as I/O" if marked == len(where.mapped) else "none as I/O" if not marked else f"{marked} as I/O"
    return f"{counted(where.count, 'mapping')}, {all_of}"


def _mappings(where: Where, style: Style, indent: str) -> Iterator[str]:
    for each in where.mapped[:TOLD]:
        yield f"{indent}{_mapping(each, style)}"
    if where.count and where.count > TOLD:
        yield f"{indent}and {where.count - TOLD} more; 'rmap' tells all"


def _mapping(each: Mapped, style: Style) -> str:
    privileged = ", privileged" if each.run.privileged else ""
    return (
        f"{tree_name(each.run.lpid, each.run.pid)} {style('address', f'{each.ea:#x}')} {_bytes(each.size)} "
        f"{each.run.rights}{privileged}, {ATT_NAMES[each.run.attribute]}"
    )


# -- queues ------------------------------------------------------------------------------------------------------------


def _queue(at: QueueAt, style: Style, wide: bool) -> Iterator[str]:
    queue = at.queue
    label, name = f"queue {queue.state.index}", f"{queue.name}, " if queue.name else ""
    yield from _labelled(
        label,
        f"{name}{counted(queue.state.num, 'entry').replace('entrys', 'entries')}: {_sum(queue, at.waited)}",
        style,
    )
    for each in queue.problems:
        yield from style.wrap(f"{each.slug}: {each.reason}", "    ", kind="bad")
    if not wide:
        return
    for part in queue.parts:
        yield from _part(part, at.where.get(part.name, Where()), style)
    yield from _indices(queue, style)
    for chain in queue.chains:
        yield from _chain(chain, style, queue)
    for one in queue.recent:
        yield f"    made available last: {_descriptor(one, style)}"
    if queue.latest:
        heads = ", ".join(f"head {head} ({length} bytes)" for head, length in queue.latest)
        yield from style.wrap(f"given back last: {heads}", "    ")


def _spans(numbers: list[int]) -> str:
    """Ascending numbers, those that follow one another put together: 0-2, 5."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def _sum(queue: Queue, waited: float | None) -> str:
    """What is going on, in a clause."""
    if queue.available is not None and (queue.pending, queue.taken, queue.untaken) == (0, 0, 0):
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
    said.append(f"{queue.taken} with the device")
    if queue.untaken is None:
        said.append("what the driver has taken back is not known")
    elif queue.untaken:
        quiet = {True: ", interrupt suppressed", False: ", interrupt due", None: ""}[queue.interrupt_off]
        what = "" if queue.packed is None else "descriptors "
        said.append(f"at most {queue.untaken} {what}used and not taken back{quiet}")
    else:
        said.append("all used taken back")
    return "; ".join(said)


def _bytes(size: int) -> str:
    text = short_size(size)
    return f"{text} bytes" if text.isdigit() else text


def _part(part: Part, where: Where, style: Style) -> Iterator[str]:
    real = part.real
    led = f" -> {real:#x}" if real is not None and real != part.address else ""
    ram = "RAM" if real is not None else "not read"
    line = f"{NAMES[part.name]:<16} {style('address', f'{part.address:#x}{led}')} {_bytes(part.size)} {ram}"
    yield f"    {line}"
    for each in where.mapped[:BRIEF]:
        yield f"      {_mapping(each, style)}"
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
    said = {packed.ENABLE: f"every {what}", packed.DISABLE: f"no {what}"}
    return said.get(events.flags, f"one {what}, at {events.offset} (round {int(events.wrap)})")


def _descriptor(one: layout.Descriptor, style: Style) -> str:
    kind = "a table" if one.indirect else "device writes" if one.written else "device reads"
    more = f", then {one.next}" if one.more else ""
    return f"{one.index:<3} {style('address', f'{one.address:#x}')} {one.length} bytes, {kind}{more}"


def _chain(chain: Chain, style: Style, queue: Queue) -> Iterator[str]:
    yield f"    pending head {chain.head}: {counted(len(chain.links), 'descriptor')}, {chain.length} bytes"
    for link in chain.links[:TOLD]:
        one = link.descriptor
        kind = "table" if one.indirect else "device writes" if one.written else "device reads"
        led = "not RAM" if link.real is None else "RAM" if link.real == one.address else f"RAM at {link.real:#x}"
        where = "indirect " if link.indirect else ""
        yield f"      {where}{one.index:<3} {style('address', f'{one.address:#x}')} {one.length} bytes, {kind}, {led}"
    if len(chain.links) > TOLD:
        yield f"      and {len(chain.links) - TOLD} more"
    if chain.problem:
        yield from style.wrap(f"{chain.problem}: {chain.reason}", "      ", kind="bad")


# -- JSON --------------------------------------------------------------------------------------------------------------


def objects(result: Device | Nothing) -> Iterator[dict[str, Any]]:
    """An object a device."""
    if isinstance(result, Nothing):
        yield {"virtio": None, "reason": result.reason}
        return
    state = result.state
    yield {
        "virtio": state.name,
        "path": state.path,
        "slot": state.slot or None,
        "device_id": state.device_id,
        "kind": words.DEVICES.get(state.device_id),
        "source": result.source,
        "status": hexadecimal(state.status),
        "status_names": [bit.name for bit in words.status_bits(state.status) if bit.name],
        "features": hexadecimal(state.features),
        "features_offered": hexadecimal(state.offered),
        "feature_names": [bit.name for bit in words.feature_bits(state.device_id, state.features) if bit.name],
        "little_endian": state.little,
        "broken": state.broken,
        "isr": state.isr,
        "problems": [_problem(each.slug, each.reason) for each in result.problems],
        "remarks": list(result.remarks),
        "bars": [_bar_object(each) for each in result.bars],
        "queues": [_queue_object(each) for each in result.queues],
    }


def _problem(slug: str, reason: str) -> dict[str, str]:
    return {"cause": slug, "reason": reason}


def _where_object(where: Where) -> dict[str, Any]:
    return {
        "mappings": where.count,
        "mapped": [
            {
                "lpid": each.run.lpid,
                "pid": each.run.pid,
                "ea": hexadecimal(each.ea),
                "ra": hexadecimal(each.ra),
                "size": each.size,
                "attribute": ATT_NAMES[each.run.attribute],
                "io": each.io,
                "read": each.run.rights.read,
                "write": each.run.rights.write,
                "execute": each.run.rights.execute,
                "privileged": each.run.privileged,
            }
            for each in where.mapped
        ],
    }


def _bar_object(each: BarAt) -> dict[str, Any]:
    bar = each.bar
    parts = [{"name": part.name, "ra": hexadecimal(part.start), "size": part.size} for part in bar.parts]
    return {
        "bar": bar.number,
        "bus_address": hexadecimal(bar.address),
        "ra": hexadecimal(bar.real),
        "size": bar.size,
        "io_space": bar.io,
        "parts": parts,
        **_where_object(each.where),
    }


def _queue_object(at: QueueAt) -> dict[str, Any]:
    queue, state = at.queue, at.queue.state
    rings = {
        part.name: {
            "address": hexadecimal(part.address),
            "ra": hexadecimal(part.real),
            "size": part.size,
            "ram": part.real is not None,
            **_where_object(at.where.get(part.name, Where())),
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
        "problems": [_problem(each.slug, each.reason) for each in queue.problems],
        "packed": None if queue.packed is None else _packed(queue.packed),
    }


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
