"""The answers of ``virtio``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.virtio import Device, Nothing
from inspector.render import queues
from inspector.render.devicemaps import bar, bar_object
from inspector.render.queues import labelled, problem_object
from inspector.render.style import Style, hexadecimal, safe
from inspector.virtio import words


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
    for at in result.bars:
        yield from bar(at, style, result.wide)
    for queue in result.queues:
        if queue.queue.set_up:
            yield from queues.text(queue, style, result.wide)
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
        yield from labelled("status", _names(status) or "reset", style)
        yield from labelled("features", _names(features) or "none", style)
        return
    yield f"  status    {style('value', f'{state.status:#x}')}{'' if status else '  reset'}"
    for bit in status:
        yield f"    {bit.name or f'bit {bit.number}':<12} {bit.says or 'not known'}"
    yield f"  features  {style('value', f'{state.features:#x}')} of {state.offered:#x} offered"
    for bit in features:
        yield f"    {bit.number:>2} {_short(bit.name) or 'not known':<20} {bit.says}".rstrip()
    if state.others:
        yield from labelled("also", ", ".join(state.others), style)


def _names(bits: list[words.Bit]) -> str:
    return ", ".join(_short(bit.name) or f"bit {bit.number}" for bit in bits)


def _short(name: str) -> str:
    return name.partition("_F_")[2] or name


def _spans(numbers: list[int]) -> str:
    """Ascending numbers, those that follow one another put together: 0-2, 5."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


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
        "problems": [problem_object(each.slug, each.reason) for each in result.problems],
        "remarks": list(result.remarks),
        "bars": [bar_object(each) for each in result.bars],
        "queues": [queues.objects(each) for each in result.queues],
    }
