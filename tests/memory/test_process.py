"""QEMU's memory as /proc gives it, tried on processes of our own."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import Unreadable
from inspector.memory.physical import Clock
from inspector.memory.process import Block, ProcessSource
from tests.memory.sessions import pattern
from tests.memory.test_ramfile import Guest

SIZE = 1 << 14
HELD = mmap.mmap(-1, 2 * SIZE)
HELD[:] = pattern(2 * SIZE, seed=7)
HOST = ctypes.addressof(ctypes.c_char.from_buffer(HELD))

# RAM [0, 4 * SIZE): blocks at [SIZE, 2*SIZE) and [2*SIZE, 3*SIZE), kept by the host the other way round
BLOCKS = [Block(2 * SIZE, SIZE, HOST), Block(SIZE, SIZE, HOST + SIZE)]
TRUTH = pattern(SIZE) + HELD[SIZE:] + HELD[:SIZE] + pattern(SIZE, seed=3)


@given(address=st.integers(0, 4 * SIZE - 1), length=st.integers(1, 4 * SIZE))
def test_every_byte_is_of_its_block_or_of_the_guest(address: int, length: int) -> None:
    length = min(length, 4 * SIZE - address)
    guest = Guest(TRUTH)
    source = ProcessSource(os.getpid(), BLOCKS, guest, Clock())
    try:
        assert source.read(address, length) == TRUTH[address : address + length]
        assert all(at + count <= SIZE or at >= 3 * SIZE for at, count in guest.asked)
    finally:
        source.close()


def test_while_the_guest_runs_only_blocks_are_read() -> None:
    source = ProcessSource(os.getpid(), BLOCKS, Guest(TRUTH), Clock(running=True))
    assert source.read(SIZE, 2 * SIZE) == TRUTH[SIZE : 3 * SIZE]
    with pytest.raises(Unreadable, match="interrupt"):
        source.read(SIZE - 8, 16)
    source.close()
    source.close()


def test_nothing_of_the_process_is_changed_and_it_may_not_be_written() -> None:
    source = ProcessSource(os.getpid(), BLOCKS, None, Clock())
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(source._file, b"x", HOST)
    source.close()


def test_what_is_not_mapped_is_a_sentence() -> None:
    there = mmap.mmap(-1, 1 << 16)
    host = ctypes.addressof(ctypes.c_char.from_buffer(there))
    end = HOST + len(HELD)
    assert host != end
    source = ProcessSource(os.getpid(), [Block(0, 1 << 20, 0x1000)], None, Clock())
    with pytest.raises(Unreadable, match="refused it"):
        source.read(0, 8)
    source.close()


def test_a_process_that_is_gone_is_a_sentence_and_never_another_one() -> None:
    code = "print('ready', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # until then it may have no memory yet: it counts as started before it is loaded
        with open(f"/proc/{child.pid}/maps", encoding="ascii") as maps:
            host = int(next(iter(maps)).split("-")[0], 16)
        source = ProcessSource(child.pid, [Block(0, 4096, host)], None, Clock())
        assert any(source.read(0, 4096))
        child.kill()
        child.wait(10)
    with pytest.raises(Unreadable, match="gone"):
        source.read(0, 8)
    source.close()


def test_a_process_that_is_not_there_cannot_be_opened() -> None:
    with pytest.raises(OSError, match="No such file"):
        ProcessSource(1 << 30, BLOCKS, None, Clock())
