"""Mirrors src/fp_tokenize/streaming.py."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fp_tokenize import ByteTokenizer
from fp_tokenize.streaming import decode_pieces

valid = st.text(st.characters(exclude_categories=["Cs"])).map(str.encode)
broken = st.lists(
    st.sampled_from([b"a", b"\x80", b"\xc3", b"\xa9", b"\xe8\xa8", b"\xf0\x9f", b"\x98\x80", b"\xed\xa0\x80", b"\xff"])
).map(b"".join)
any_bytes = valid | broken | st.binary()


@pytest.mark.claim("tokenize.stream-any-cut")
@given(any_bytes, st.lists(st.integers(0, 40)), st.sampled_from(["replace", "ignore"]))
@example(b"\xe8\xa8", [1], "replace")
@example(b"\xf0\x9f\x98\x80", [1, 2, 3], "replace")
def test_no_cut_of_the_bytes_changes_the_text(data, cuts, errors):
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(places)]
    assert "".join(decode_pieces(pieces, errors)) == data.decode("utf-8", errors)


@pytest.mark.claim("tokenize.stream-any-cut")
def test_every_cut_of_every_short_string_of_critical_bytes():
    """Exhaustive: all strings of up to four of eight bytes that sit at UTF-8's borders, in all 2^(n-1) cuts."""
    alphabet = [0x41, 0x80, 0xA9, 0xC3, 0xE8, 0xED, 0xF0, 0xFF]
    strings = [b""]
    for _ in range(4):
        strings = [s + bytes([b]) for s in strings for b in alphabet]
        for s in strings:
            for mask in range(1 << (len(s) - 1)):
                places = [0, *(i + 1 for i in range(len(s) - 1) if mask >> i & 1), len(s)]
                pieces = [s[a:b] for a, b in pairwise(places)]
                assert "".join(decode_pieces(pieces)) == s.decode("utf-8", "replace"), (s, pieces)


@pytest.mark.claim("tokenize.stream-delay")
@given(valid)
def test_a_whole_character_is_written_with_its_last_byte(data):
    text, written, given_bytes = data.decode(), "", 0

    def bytes_one_by_one():
        nonlocal given_bytes
        for i in range(len(data)):
            assert written == data[:i].decode("utf-8", "ignore")  # all that was whole before this byte
            assert i - len(written.encode()) <= 3
            given_bytes = i + 1
            yield data[i : i + 1]

    for part in decode_pieces(bytes_one_by_one()):
        written += part
    assert (written, given_bytes) == (text, len(data))


@pytest.mark.claim("tokenize.stream-delay")
@given(broken)
def test_at_most_three_bytes_are_held_back(data):
    """Before each byte, the text so far is that of all bytes but the last three, two, one or none."""
    written = ""

    def bytes_one_by_one():
        for end in range(len(data)):
            assert written in {data[: max(end - held, 0)].decode("utf-8", "replace") for held in range(4)}
            yield data[end : end + 1]

    for part in decode_pieces(bytes_one_by_one()):
        written += part
    assert written == data.decode("utf-8", "replace")


def test_one_leading_space_is_left_out_and_only_of_the_first_part():
    assert list(decode_pieces([b" a", b" b"], drop_space=True)) == ["a", " b"]
    assert list(decode_pieces([b" ", b"a"], drop_space=True)) == ["a"]
    assert list(decode_pieces([b"  a"], drop_space=True)) == [" a"]
    assert list(decode_pieces([b"a", b" b"], drop_space=True)) == ["a", " b"]


def test_a_stream_of_ids_stops_at_the_first_bad_one():
    stream = ByteTokenizer().decode_stream(iter([104, 105, 256, 33]))
    assert [next(stream), next(stream)] == ["h", "i"]
    with pytest.raises(ValueError, match=r"id 256 at position 2 lies outside \[0, 256\)"):
        next(stream)


def test_strict_decoding_raises_inside_the_stream_and_at_its_end():
    with pytest.raises(ValueError, match="byte 0xc3 at position 0, invalid continuation byte"):
        list(decode_pieces([b"a", b"\xc3", b"b"], "strict"))
    with pytest.raises(ValueError, match="unexpected end of data"):
        list(decode_pieces([b"a", b"\xc3"], "strict"))
    with pytest.raises(ValueError, match="'replace', 'ignore' or 'strict', got 'loud'"):
        list(decode_pieces([b"a"], "loud"))
