"""What the kept library splits, with letters and escapes as they were meant."""

import logging

import pytest

from adapters.hl7v2.errors import Reason, SegmentError
from adapters.hl7v2.message import parsed
from tests.adapters.hl7v2.messages import message


def text_of(body: bytes, charset: str = "ASCII") -> str:
    found = parsed(body, charset).first("NTE")
    assert found is not None
    return found.text(3)


def test_escape_sequences_are_resolved_by_the_delimiters_of_the_message() -> None:
    body = message("ADT^A01", r"NTE|1|L|a\F\b\S\c\T\d\R\e\E\f\X41\g\.br\h\H\i\N\j")
    assert text_of(body) == "a|b^c&d~e\\fAg\nhij"


def test_a_message_may_have_delimiters_of_its_own() -> None:
    body = b"MSH#*%!$#ADT#GHH#CJ#CJ#2024##ADT*A01#M1#P#2.5\rNTE#1#L#a!F!b!S!c$d\r"
    found = parsed(body, "ASCII").first("NTE")
    assert found is not None
    assert found.first(3).parts(1) == ["a#b*c", "d"]


def test_an_unknown_escape_stays_as_it_is_and_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert text_of(message("ADT^A01", r"NTE|1|L|a\Z99\b\XZZ\c")) == r"a\Z99\b\XZZ\c"
    assert not caplog.records


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("8859/15", "iso-8859-15")],
)
def test_letters_are_decoded_as_msh_18_says(charset: str, encoding: str) -> None:
    body = message("ADT^A01", "NTE|1|L|Zoë", charset=charset).decode().encode(encoding)
    assert text_of(body) == "Zoë"


def test_a_message_that_says_nothing_is_read_as_its_sender_is_known_to_write() -> None:
    body = message("ADT^A01", "NTE|1|L|Zoë").decode().encode("latin-1")
    assert text_of(body, "8859/1") == "Zoë"
    with pytest.raises(SegmentError) as caught:
        parsed(body, "ASCII")
    assert caught.value.reason is Reason.UNDECODABLE


@pytest.mark.parametrize("charset", ["ISO IR87", "UNICODE", "8859/1~ISO IR87", "KOI8"])
def test_a_character_set_that_is_not_read_is_refused_by_name(charset: str) -> None:
    with pytest.raises(SegmentError) as caught:
        parsed(message("ADT^A01", charset=charset), "ASCII")
    assert caught.value.reason is Reason.UNKNOWN_CHARSET


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_segments_may_end_as_files_and_some_senders_end_lines(end: str) -> None:
    body = message("ADT^A01", "NTE|1|L|one", "NTE|2|L|two").replace(b"\r", end.encode())
    assert [each.text(3) for each in parsed(body, "ASCII").all("NTE")] == ["one", "two"]


def test_empty_says_nothing_and_null_says_that_there_is_nothing() -> None:
    found = parsed(message("ADT^A01", 'NTE|""||x'), "ASCII").first("NTE")
    assert found is not None
    assert found.first(1).is_null
    assert not found.first(2).is_null
    assert (found.text(1), found.text(2), found.text(9)) == ("", "", "")


@pytest.mark.parametrize("body", [b"", b"MSH", b"PID|1", b"\x00\x01", b"{}", b"MSH|^~\\&|a\x00b"])
def test_what_is_no_message_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(SegmentError):
        parsed(body, "ASCII")


def test_a_message_of_separators_alone_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(SegmentError) as caught:
        parsed(message("ADT^A01", "NTE|1||" + "~" * 300_000), "ASCII")
    assert caught.value.reason is Reason.TOO_LARGE


def test_what_is_no_kind_of_message_is_not_repeated() -> None:
    assert parsed(message("Jane Doe^1960"), "ASCII").kind == "(other)"
