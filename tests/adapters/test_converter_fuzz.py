"""Whatever bytes come, a reader sets aside what it cannot understand and raises nothing."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.services.delivery import Delivery, Reading
from tests.adapters.ccda import documents
from tests.adapters.hl7v2 import messages
from tests.adapters.hl7v2.test_movements import DISCHARGE
from tests.adapters.hl7v2.test_pharmacy import ORC, RXE, rxa
from tests.adapters.hl7v2.test_results import obx, oru

MESSAGES = [
    DISCHARGE,
    oru(obx(), obx("SN", ">^5"), obx("CWE", "1^a^SCT")),
    messages.message("RAS^O17", messages.PID, ORC, rxa()),
    messages.message("RDE^O11", messages.PID, ORC, RXE),
    messages.message("ADT^A40", messages.PID, "MRG|p2^^^MRN"),
]
DOCUMENT = documents.document(
    documents.section("problems", documents.problem()),
    documents.section("results", documents.result()),
    documents.section("medications", documents.medication()),
)
_PIECES = st.one_of(
    st.sampled_from([b"|", b"^", b"~", b"\\", b"&", b'""', b"\r", b"\n", b"<", b"</", b'"', b""]),
    st.binary(max_size=6),
)
CHANGES = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 30), _PIECES), min_size=1, max_size=6
)


def changed(body: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, piece in changes:
        start = at % (len(body) + 1)
        body = body[:start] + piece + body[start + length :]
    return body


def _read(read: Callable[[Delivery], Reading], delivery: Delivery) -> Reading:
    reading = read(delivery)
    for event in reading.events:
        assert event.source.digest == delivery.digest
        assert event.received_at == delivery.received_at
    return reading


@given(st.sampled_from(MESSAGES), CHANGES)
@settings(max_examples=400)
def test_a_message_broken_anywhere_is_read_or_set_aside(
    body: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    reader = messages.Hl7v2Reader({messages.SITE: messages.rules()})
    _read(reader.read, messages.delivery(changed(body, changes)))


@given(CHANGES)
@settings(max_examples=120)
def test_a_document_broken_anywhere_is_read_or_set_aside(
    changes: list[tuple[int, int, bytes]],
) -> None:
    delivery = replace(documents.delivery(b""), body=changed(DOCUMENT, changes))
    _read(documents.reader().read, delivery)
