"""Files of HL7 v2: each message a delivery, batches cut, nothing lost."""

from pathlib import Path

from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.hl7v2.files import deliveries, is_hl7, messages
from clinical.services.delivery import Delivery, Door
from tests.adapters.hl7v2.messages import PID, message

ONE, TWO = message("ADT^A08", PID), message("ADT^A08", PID, control_id="M2")


def of(path: Path) -> list[Delivery]:
    return list(
        deliveries(path, site="north", clock=SystemClock(), identities=TimeOrderedIdentities())
    )


def test_a_file_of_one_message_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "jane-doe.HL7"
    path.write_bytes(b"\xef\xbb\xbf" + ONE.replace(b"\r", b"\n"))
    assert is_hl7(path)
    (delivery,) = of(path)
    assert delivery.body == path.read_bytes()
    assert delivery.door is Door.HL7V2_FILE
    assert "jane" not in f"{delivery.sender_id} {delivery.context}"


def test_the_envelopes_of_a_batch_are_left_out_and_each_message_kept() -> None:
    batch = b"FHS|^~\\&|ADT\rBHS|^~\\&|ADT\r" + ONE + TWO + b"BTS|2\rFTS|1\r"
    assert messages(batch) == [ONE.strip(), TWO.strip()]
    assert messages(batch.replace(b"\r", b"\n")) == [
        each.strip().replace(b"\r", b"\n") for each in (ONE, TWO)
    ]


def test_messages_one_after_the_other_need_no_envelope() -> None:
    assert messages(ONE + TWO) == [ONE.strip(), TWO.strip()]
    assert messages(b"\x0b" + ONE + b"\x1c\r\x0b" + TWO + b"\x1c\r") == [ONE.strip(), TWO.strip()]


def test_what_is_no_message_is_one_delivery_for_the_quarantine() -> None:
    assert messages(b"") == [b""]
    assert messages(b"hello") == [b"hello"]
    assert messages(b"FHS|^~\\&|\rFTS|0") == [b"FHS|^~\\&|\rFTS|0"]
