"""What is opened as a file, and what is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inspector.errors import FormatError
from inspector.memory.plainfile import READ_WHOLE, open_plain, sized


@pytest.mark.parametrize("size", [1, READ_WHOLE, READ_WHOLE + 1])
def test_content_is_the_same_read_or_mapped(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "image"
    path.write_bytes(data)
    file = open_plain(str(path))
    assert (file.size, file.data[0:size]) == (size, data)
    file.close()
    file.close()
    assert file.size == 0


def test_refuses_what_is_no_file_without_waiting_for_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    empty = tmp_path / "empty"
    empty.touch()
    for path, words in (
        (str(tmp_path / "none"), "no such file"),
        (str(tmp_path), "a directory"),
        (str(fifo), "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (str(empty), "empty"),
        ("a\0b", "NUL"),
        (str(tmp_path / ("x" * 300)), "cannot be opened"),
        ("", "no such file"),
    ):
        with pytest.raises(FormatError, match=words):
            open_plain(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(FormatError, match="Permission denied"):
        open_plain(str(path))


def test_sizes_in_words() -> None:
    assert [sized(n) for n in (5, 1536, 3 << 30, 1 << 62)] == ["5 bytes", "1.5 KiB", "3.0 GiB", "4.0 EiB"]
