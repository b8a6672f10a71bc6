"""The QMP client against a server that is slow, refuses, or goes away."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector.errors import ProtocolError, ReplyTimeout, TargetLost
from scripts.qmp import Qmp

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'
Answer = Callable[[dict[str, Any]], bytes | None]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Answer], Qmp]]:
    """Starts a server whose answers to each request are given: bytes as they go out, None to hang up."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "qmp"))
    server.listen(1)
    server.settimeout(10)
    threads: list[threading.Thread] = []

    def start(answer: Answer) -> Qmp:
        def run() -> None:
            end, _ = server.accept()
            with end, end.makefile("rb") as lines:
                end.sendall(GREETING)
                for line in lines:
                    reply = answer(json.loads(line))
                    if reply is None:
                        return
                    end.sendall(reply)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        return Qmp(tmp_path / "qmp")

    yield start
    server.close()
    for thread in threads:
        thread.join(timeout=10)


def good(request: dict[str, Any]) -> bytes:
    return json.dumps({"return": request["arguments"]}).encode() + b"\r\n"


def test_the_answer_is_told_from_events(serve: Callable[[Answer], Qmp]) -> None:
    with serve(lambda request: b'{"event": "STOP"}\r\n{"ev' + b'ent": "RESUME"}\r\n' + good(request)) as qmp:
        assert qmp.execute("echo", {"a": 1}) == {"a": 1}


def test_the_monitor_is_asked_of_a_vcpu(serve: Callable[[Answer], Qmp]) -> None:
    asked: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> bytes:
        asked.append(request)
        return b'{"return": "one\\r\\ntwo"}\r\n'

    with serve(answer) as qmp:
        assert qmp.hmp("info status") == "one\ntwo"
        qmp.hmp("p/x $amr", cpu=1)
    assert [request["arguments"] for request in asked[1:]] == [
        {"command-line": "info status"},
        {"command-line": "p/x $amr", "cpu-index": 1},
    ]


def test_a_refusal_carries_qemus_words(serve: Callable[[Answer], Qmp]) -> None:
    def answer(request: dict[str, Any]) -> bytes:
        if request["execute"] == "odd":
            return b'{"error": {"class": "CommandNotFound", "desc": "what is odd?"}}\r\n'
        return good(request)

    with serve(answer) as qmp:
        with pytest.raises(ProtocolError, match="what is odd"):
            qmp.execute("odd")
        assert qmp.execute("even", {"b": 2}) == {"b": 2}, "the connection goes on"


def test_no_answer_and_a_hang_up(serve: Callable[[Answer], Qmp]) -> None:
    replies = {"qmp_capabilities": b'{"return": {}}\r\n', "slow": b'{"ret', "end": None}
    with serve(lambda request: replies[request["execute"]]) as qmp:
        with pytest.raises(ReplyTimeout):
            qmp.execute("slow", timeout=0.05)
        with pytest.raises(TargetLost):
            qmp.execute("end", timeout=10)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(TargetLost, match="start the guest"):
        Qmp(tmp_path / "none")
