"""What QEMU's ``x-query-virtio*`` answer over QMP, read (qapi/virtio.json, QEMU 7.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inspector.virtio.hmp import Named, made, queue_of
from inspector.virtio.state import DeviceState, QueueState

STATUS = {"name": "device_name", "device-endian": "endianness", "num-vqs": "num_vqs"}
QUEUE = {"vring-num": "num", "vring-desc": "desc", "vring-avail": "avail", "vring-used": "used"}


def status(path: str, answer: Mapping[str, Any]) -> DeviceState:
    """One device out of ``x-query-virtio-status``."""
    return made(
        path,
        _words(answer, STATUS),
        int(answer["device-id"]),
        _named(answer.get("status"), "statuses", "unknown-statuses"),
        _features(answer.get("guest-features")),
        _features(answer.get("host-features")),
        vhost="vhost-dev" in answer,
    )


def queue(answer: Mapping[str, Any]) -> QueueState | None:
    """One queue out of ``x-query-virtio-queue-status``."""
    return queue_of(_words(answer, QUEUE))


def _words(answer: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    return {
        names.get(name, name.replace("-", "_")): str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in answer.items()
        if not isinstance(value, dict | list)
    }


def _named(said: object, names: str, unknown: str) -> Named:
    if not isinstance(said, dict):
        return Named(())
    return Named(tuple(str(each).split(":")[0] for each in said.get(names, [])), int(said.get(unknown, 0)))


def _features(said: object) -> Named:
    if not isinstance(said, dict):
        return Named(())
    common, own = _named(said, "transports", "unknown-transports"), _named(said, "dev-features", "unknown-dev-features")
    return Named((*common.names, *own.names), common.unknown | own.unknown)
