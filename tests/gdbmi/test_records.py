"""Records: what is sliced, what is parsed, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import ProtocolError, UsageError
from inspector.gdbmi.records import Reply, memory_contents, parse, quote, stream_text

PRINTABLE = st.text(st.characters(min_codepoint=32).filter(str.isprintable))


@given(PRINTABLE)
def test_a_quoted_text_is_one_c_string_that_says_the_same(text: str) -> None:
    quoted = quote(text)
    assert quoted[0] == quoted[-1] == '"'
    inner, said, at = quoted[1:-1], "", 0
    while at < len(inner):
        assert inner[at] != '"', "the string would end here"
        at += inner[at] == "\\"
        said += inner[at]
        at += 1
    assert said == text


@pytest.mark.parametrize("text", ["a\nb", "\r", "\0", "\x1b[31m", "a\tb", "\x7f", "\u2028"])
def test_control_characters_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="control character"):
        quote(text)


@given(st.binary(min_size=1, max_size=64))
def test_memory_is_sliced_only_where_all_of_it_is_there(data: bytes) -> None:
    line = f'done,memory=[{{begin="0x0",offset="0x0",end="0x1",contents="{data.hex()}"}}]'.encode()
    assert memory_contents(line, len(data)) == data
    assert memory_contents(line, len(data) + 1) is None
    assert memory_contents(line, len(data) - 1) is None
    assert memory_contents(line[:-10], len(data)) is None
    assert memory_contents(line.replace(b"contents", b"content_"), len(data)) is None


def test_several_blocks_are_not_a_read() -> None:
    two = b'done,memory=[{begin="0x0",contents="0011"},{begin="0x4",contents="2233"}]'
    assert memory_contents(two, 4) is None
    assert memory_contents(b'done,memory=[{contents="zz"}]', 1) is None


def test_text_joins_console_and_target_streams_and_nothing_else() -> None:
    before = b'&"log\\n"\n=thread-created,id="1"\n~"a \\"b\\"\\n"\n@"c\\r\\n"\n(gdb) \n~"\\303\\244"'
    assert Reply(b"done", b"done", before).text() == 'a "b"\nc\r\nä'


@given(st.text(st.sampled_from(["a", " ", "\\", '"', "n", "r", "t", "\n", "\r", "\t", "0", "ä"])))
def test_a_line_is_the_same_text_by_the_short_way_and_by_the_parser(said: str) -> None:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    line = f'@"{"".join(escapes.get(each, each) for each in said)}"'.encode()
    assert stream_text([line]) == parse(line)["payload"] == said


@given(st.binary(max_size=40))
def test_a_garbled_record_is_a_sentence(line: bytes) -> None:
    said = ""
    try:
        parse(line)
    except ProtocolError as bad:
        said = str(bad)
    assert "\n" not in said
