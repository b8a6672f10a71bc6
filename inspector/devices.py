"""The virtio devices of a guest: asked of QEMU, or as they were recorded.

Only monitor commands that look are given, and only RAM is read: a device's registers are never touched."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from inspector.errors import FormatError, NotSupported
from inspector.virtio import hmp, query
from inspector.virtio.state import MAX_ANSWERS, MAX_DEVICES, MAX_QUEUES, DeviceState, QueueState, VirtioState

if TYPE_CHECKING:
    from inspector.guest import Guest
    from inspector.qmp import Qmp
    from inspector.targets.base import Target

Ask = Callable[[Sequence[str]], list[str]]
"""What the monitor prints for several commands."""
BACKEND = "/virtio-backend"
"""What a device's path ends with where a proxy, as of PCI, stands before it (QEMU, hw/virtio/virtio-pci.c)."""


def recorded(target: Target) -> VirtioState | None:
    """The devices as a recording has them: what a target's ``virtio`` holds, a state or its JSON; None where it has
    none. Raises FormatError where that is damaged."""
    found: object = getattr(target, "virtio", None)
    if found is None or isinstance(found, VirtioState):
        return found
    try:
        return VirtioState.from_json(found)
    except ValueError as error:
        raise FormatError(target.name, f"the virtio state is wrong: {error}") from None


def of_guest(guest: Guest) -> VirtioState | None:
    """The devices of a guest, by the monitor that its stub reaches, or as recorded; None for a recording without.

    Raises NotSupported where QEMU is older than 7.2 or the guest runs, TargetLost."""
    control = guest.target.control
    if control is None:
        return recorded(guest.target)
    return of_monitor(control.monitor)


def of_monitor(ask: Ask) -> VirtioState:
    """The devices, by HMP alone. Raises NotSupported where QEMU does not know ``info virtio``."""
    (listed,) = ask(["info virtio"])
    if hmp.no_virtio_command(listed):
        raise NotSupported(
            "this QEMU's monitor does not know 'info virtio', which is there from 7.2 on; read the rings by hand with "
            "'read --real', or use a later QEMU"
        )
    return _placed(ask, _states(ask, [path for path, _ in hmp.devices(listed)][:MAX_DEVICES]), "monitor")


def of_monitor_again(
    ask: Ask, before: VirtioState, at_rest: Container[tuple[str, int]] = (), unmoved: Container[str] = ()
) -> VirtioState:
    """The same devices as they are now, by HMP: but for where they are, for the queues that are ``at_rest``, by their
    device's path and index, and for whole devices that are ``unmoved``, by their paths, which are as they were found
    ``before``."""
    asked = [each for each in before.devices if each.path not in unmoved]
    kept = {(each.path, one.index): one for each in asked for one in each.queues if (each.path, one.index) in at_rest}
    now = {each.path: each for each in _states(ask, [each.path for each in asked], kept)}
    again = []
    for each in before.devices:
        if each.path in unmoved:
            again.append(each)
        elif each.path in now:
            again.append(replace(now[each.path], slot=each.slot, bars=each.bars))
    return replace(before, devices=tuple(again))


def _states(
    ask: Ask, paths: Sequence[str], kept: Mapping[tuple[str, int], QueueState] = MappingProxyType({})
) -> list[DeviceState]:
    """The devices of these names, with their queues; those that are ``kept`` are not asked for."""
    said = ask([f"info virtio-status {path}" for path in paths])
    found = [each for path, text in zip(paths, said, strict=True) if (each := hmp.status(path, text))]
    every = [(each, number) for each in found for number in _harmless(each)]
    asked = [(each, number) for each, number in every if (each.path, number) not in kept]
    words = ask([f"info virtio-queue-status {each.path} {number}" for each, number in asked])
    queues: dict[str, list[QueueState]] = {}
    for (each, _), text in zip(asked, words, strict=True):
        if queue := hmp.queue(text):
            queues.setdefault(each.path, []).append(queue)
    for (path, _), queue in kept.items():
        queues.setdefault(path, []).append(queue)
    return [replace(each, queues=_in_order(queues.get(each.path, ()))) for each in found]


def _harmless(device: DeviceState) -> range:
    """The queues of a device that can be asked for and go on as before: none while vhost works on them.

    QEMU would ask vhost for the ring's base in turn (7.2, hw/virtio/virtio.c, ``qmp_x_query_virtio_queue_status``): a
    vhost-user back end stops the ring at that (docs/interop/vhost-user.rst, VHOST_USER_GET_VRING_BASE), and QEMU takes
    what the call returns, 0, for the index. When a guest is stopped vhost hands its rings back, and all can be asked.
    """
    return range(0 if device.vhost else min(device.count, MAX_QUEUES))


def _in_order(queues: Iterable[QueueState]) -> tuple[QueueState, ...]:
    return tuple(sorted(queues, key=lambda each: each.index))


def of_qmp(qmp: Qmp) -> VirtioState:
    """The devices, by QMP's ``x-query-virtio*``, their BARs by the monitor behind the same socket. Raises
    NotSupported where QEMU does not know them."""
    found = []
    for listed in qmp.execute("x-query-virtio")[:MAX_DEVICES]:
        path = str(listed["path"])
        device = query.status(path, qmp.execute("x-query-virtio-status", {"path": path}))
        queues = (
            query.queue(qmp.execute("x-query-virtio-queue-status", {"path": path, "queue": number}))
            for number in _harmless(device)
        )
        found.append(replace(device, queues=tuple(queue for queue in queues if queue)))
    return _placed(qmp.monitor, found, "qmp")


def _placed(ask: Ask, found: Sequence[DeviceState], source: str) -> VirtioState:
    """The same with their places on PCI, their BARs, and the windows of IOMMUs."""
    if not found:
        return VirtioState((), (), source)
    proxies = [each.path.removesuffix(BACKEND) for each in found]
    pci, tree, flat, *places = ask(
        ["info pci", "info mtree", "info mtree -f", *(f"qom-get {proxy} addr" for proxy in proxies)]
    )
    functions, over, parts = hmp.functions(pci), hmp.apertures(tree), hmp.flat_parts(flat)
    placed = [
        hmp.placed(each, hmp.function_of(each, _devfn(place), functions), over, parts)
        for each, place in zip(found, places, strict=True)
    ]
    order = sorted(placed, key=lambda each: (each.slot or "~", each.path))
    answers = () if len(parts) > MAX_ANSWERS else tuple(parts)
    return VirtioState(tuple(order), tuple(hmp.windows(flat)), source, answers)


def _devfn(text: str) -> int | None:
    """The number that ``qom-get … addr`` prints of a PCI device."""
    found = re.fullmatch(r"\s*(\d{1,3})\s*", text)
    return int(found[1]) if found else None
