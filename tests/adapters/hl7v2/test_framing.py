"""MLLP cut out of a stream, however the stream is cut itself."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from adapters.hl7v2.framing import Frame, Framer, framed

BODIES = st.lists(
    st.binary(max_size=40).map(lambda body: body.replace(b"\x0b", b"?").replace(b"\x1c", b"?")),
    max_size=6,
)


def cut(stream: bytes, at: list[int], max_bytes: int = 1000) -> tuple[list[Frame], Framer]:
    framer, found = Framer(max_bytes), []
    edges = [0, *sorted(each % (len(stream) + 1) for each in at), len(stream)]
    for start, end in itertools.pairwise(edges):
        found += framer.add(stream[start:end])
    return found, framer


@given(BODIES, st.lists(st.integers(min_value=0, max_value=400), max_size=12))
def test_every_message_comes_out_once_and_whole_wherever_reads_end(
    bodies: list[bytes], at: list[int]
) -> None:
    found, framer = cut(b"".join(framed(body) for body in bodies), at)
    assert [frame.body for frame in found] == bodies
    assert framer.num_noise == 0


@given(st.lists(st.integers(min_value=0, max_value=60), max_size=8))
def test_noise_between_messages_is_dropped_and_counted(at: list[int]) -> None:
    found, framer = cut(b"\r\n" + framed(b"MSH|1") + b"\r\nping\n" + framed(b"MSH|2"), at)
    assert [frame.body for frame in found] == [b"MSH|1", b"MSH|2"]
    assert framer.num_noise == 9


@given(st.lists(st.integers(min_value=0, max_value=60), max_size=8))
def test_a_message_that_begins_anew_gives_the_first_one_up(at: list[int]) -> None:
    found, framer = cut(b"\x0bMSH|half" + framed(b"MSH|whole"), at)
    assert [frame.body for frame in found] == [b"MSH|whole"]
    assert framer.num_noise == 8


@given(st.lists(st.integers(min_value=0, max_value=30_000), max_size=8))
def test_an_oversize_message_keeps_its_head_and_its_neighbours(at: list[int]) -> None:
    large = b"MSH|large" + b"x" * 20_000
    found, _ = cut(framed(large) + framed(b"MSH|next"), at, max_bytes=9000)
    assert [(frame.is_oversize, len(frame.body)) for frame in found] == [(True, 4096), (False, 8)]
    assert found[0].body == large[:4096]


def test_memory_is_bounded_however_long_a_message_goes_on() -> None:
    framer = Framer(1000)
    assert not list(framer.add(b"\x0bMSH|"))
    for _ in range(200):
        assert not list(framer.add(b"x" * 1000))
    assert len(framer._buffer) <= 2000


def test_an_end_without_its_carriage_return_ends_nothing() -> None:
    found, framer = cut(b"\x0bMSH|1\x1c\nMSH|2\x1c\x0d", [])
    assert [frame.body for frame in found] == [b"MSH|1\x1c\nMSH|2"]
    assert not framer.is_inside
