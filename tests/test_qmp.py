"""The client of QEMU's control socket, against a server of the test's own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from inspector.devices import of_qmp
from inspector.errors import ConnectError, NotSupported, ProtocolError, ReplyTimeout, TargetLost, UsageError
from inspector.qmp import Qmp

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\n'
Answer = Callable[[dict[str, Any]], bytes]


class Server:
    """One client is served; ``answer`` makes the bytes for each of its messages, and ``asked`` keeps these."""

    def __init__(self, path: Path, answer: Answer, greeting: bytes = GREETING) -> None:
        self.where = f"unix:{path}"
        self.asked: list[dict[str, Any]] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._listener.settimeout(10)
        self._answer, self._greeting = answer, greeting
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            client, _ = self._listener.accept()
            with client:
                client.settimeout(10)
                client.sendall(self._greeting)
                for line in client.makefile("rb"):
                    self.asked.append(json.loads(line))
                    said = self._answer(self.asked[-1])
                    if not said:
                        return
                    client.sendall(said)

    def close(self) -> None:
        self._listener.close()
        self._thread.join(10)


def returned(value: object) -> bytes:
    return json.dumps({"return": value}).encode() + b"\n"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(answer: Answer, greeting: bytes = GREETING) -> Server:
        made.append(Server(tmp_path / "qmp", answer, greeting))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_events_are_dropped_and_answers_returned(serve: Callable[..., Server]) -> None:
    server = serve(lambda asked: b'{"event": "STOP"}\n' + returned(asked["execute"]))
    with Qmp(server.where) as client:
        assert client.execute("query-status") == "query-status"
        assert client.monitor(["info pci"]) == ["human-monitor-command"]
    assert server.asked[-1] == {"execute": "human-monitor-command", "arguments": {"command-line": "info pci"}}


def test_only_what_looks_is_given_to_the_monitor(serve: Callable[..., Server]) -> None:
    server = serve(lambda _: returned({}))
    with Qmp(server.where) as client, pytest.raises(UsageError, match="more than look"):
        client.monitor(["info pci", "system_reset"])
    assert [each["execute"] for each in server.asked] == ["qmp_capabilities"]


def test_a_refusal_is_said(serve: Callable[..., Server]) -> None:
    error = b'{"error": {"class": "CommandNotFound", "desc": "The command x-query-virtio has not been found"}}\n'
    server = serve(lambda asked: error if asked["execute"].startswith("x-") else returned({}))
    with Qmp(server.where) as client, pytest.raises(NotSupported, match=r"has not been found.*7\.2"):
        of_qmp(client)


@pytest.mark.parametrize("works", [False, True])
def test_queues_that_vhost_works_on_are_not_asked_for(serve: Callable[..., Server], works: bool) -> None:
    status = {"name": "virtio-net", "device-id": 1, "num-vqs": 3, "device-endian": "little"}
    answers: dict[str, Any] = {
        "x-query-virtio": [{"path": "/machine/x", "name": "virtio-net"}],
        "x-query-virtio-status": {**status, **({"vhost-dev": {"n-mem-sections": 1}} if works else {})},
        "human-monitor-command": "",
    }
    server = serve(lambda asked: returned(answers.get(asked["execute"], {})))
    with Qmp(server.where) as client:
        (device,) = of_qmp(client).devices
    assert (device.vhost, device.count) == (works, 3)
    asked = [each["arguments"]["queue"] for each in server.asked if each["execute"] == "x-query-virtio-queue-status"]
    assert asked == ([] if works else [0, 1, 2])


@pytest.mark.parametrize("greeting", [b"220 mail.example ESMTP\n", b"[1]\n"])
def test_what_is_no_qmp(serve: Callable[..., Server], greeting: bytes) -> None:
    with pytest.raises(ProtocolError, match="is not QMP"):
        Qmp(serve(lambda _: b"", greeting).where)


def test_a_server_that_goes_away_or_says_nothing(serve: Callable[..., Server], tmp_path: Path) -> None:
    with pytest.raises(TargetLost, match="closed"):
        Qmp(serve(lambda _: b"").where)
    (tmp_path / "qmp").unlink()
    with pytest.raises(ReplyTimeout, match="one client"):
        Qmp(serve(lambda _: b"", b" ").where, timeout=0.05)


def test_where_nothing_listens(tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match=r"/none \(No such file or directory\); is QEMU running"):
        Qmp(f"unix:{tmp_path}/none")
    with pytest.raises(UsageError, match="unix:PATH"):
        Qmp("unix:")
