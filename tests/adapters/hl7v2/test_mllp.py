"""The listener on a real socket: what is stored, what is answered, and what no sender can do to it."""

import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import hl7
import pytest
from hl7.client import MLLPClient
from sqlalchemy import Engine

from adapters.db.unit_of_work import unit_of_work_factory
from adapters.hl7v2.framing import framed
from adapters.hl7v2.listener import Certificates
from clinical.audit.entry import AuditKind
from clinical.services.delivery import Door
from clinical.services.shedding import LoadLimits
from tests.adapters.hl7v2.conftest import Open, Post
from tests.adapters.hl7v2.messages import PID, SITE, message

pytestmark = pytest.mark.integration

ADT = message("ADT^A08", "EVN|A08|20240601", PID)


def verdict(answer: str) -> tuple[str, str]:
    """MSA-1 and MSA-2."""
    fields = answer.split("\r")[1].split("|")
    assert fields[0] == "MSA"
    return fields[1], fields[2]


def error_of(answer: str) -> tuple[str, str]:
    """The condition of table 0357 and our own code."""
    fields = answer.split("\r")[2].split("|")
    assert fields[0] == "ERR"
    return fields[3], fields[8]


def test_a_message_is_stored_as_received_and_then_acknowledged(post: Post) -> None:
    with post.sender() as sender:
        answer = sender.send(ADT)
    assert verdict(answer) == ("AA", "M1")
    (delivery,) = post.stored()
    assert (delivery.body, delivery.site, delivery.door) == (ADT, SITE, Door.HL7V2)
    assert delivery.sender_id == "ADT|GHH|M1"
    with unit_of_work_factory(post.engine)() as uow:
        assert uow.outbox.pending() == 1
        (entry,) = uow.audit_log.history(delivery=str(delivery.delivery_id))
    assert (entry.kind, entry.actor) == (AuditKind.DELIVERY_RECEIVED, "site:north")


def test_the_answer_is_addressed_back_and_parses_with_the_kept_library(post: Post) -> None:
    with post.sender() as sender:
        found = hl7.parse(sender.send(ADT))
    msh = found.segment("MSH")
    assert [str(msh[at]) for at in (3, 4, 5, 6, 9, 11, 12)] == [
        "CJ",
        "CJ",
        "ADT",
        "GHH",
        "ACK^A08",
        "P",
        "2.5.1",
    ]
    assert 1 <= len(str(msh[10])) <= 20


def test_the_answer_uses_the_delimiters_of_the_sender(post: Post) -> None:
    body = b"MSH#*%!$#ADT#GHH#CJ#CJ#20240601##ADT*A08#M9#P#2.5\r"
    with post.sender() as sender:
        answer = sender.send(body)
    assert answer.startswith("MSH#*%!$#CJ#CJ#ADT#GHH#")
    assert "\rMSA#AA#M9\r" in answer


def test_the_same_message_again_gets_the_same_verdict_and_changes_nothing(post: Post) -> None:
    with post.sender() as sender:
        assert [verdict(sender.send(ADT)) for _ in range(3)] == [("AA", "M1")] * 3
    assert len(post.stored()) == 1


def test_a_control_id_used_again_for_other_bytes_is_rejected_and_audited(post: Post) -> None:
    with post.sender() as sender:
        sender.send(ADT)
        answer = sender.send(ADT.replace(b"Jane", b"John"))
    assert verdict(answer) == ("AR", "M1")
    assert error_of(answer)[1] == "intake.conflicting_delivery"
    (delivery,) = post.stored()
    assert delivery.body == ADT
    with unit_of_work_factory(post.engine)() as uow:
        history = uow.audit_log.history(delivery=str(delivery.delivery_id))
    assert [entry.kind for entry in history] == [
        AuditKind.DELIVERY_RECEIVED,
        AuditKind.DELIVERY_REFUSED,
    ]


@pytest.mark.parametrize(
    ("body", "condition", "code"),
    [
        (ADT.replace(b"|GHH|", b"|ELSE|"), "101", "hl7v2.unknown_sender"),
        (message("ADT^A08", processing="T"), "202", "hl7v2.unsupported_processing"),
        (message("ADT^A08", version="3.0"), "203", "hl7v2.unsupported_version"),
        (message("ACK^A08"), "200", "hl7v2.unsupported_message"),
        (b"FHS|^~\\&|ADT|GHH\r" + ADT, "200", "hl7v2.unsupported_message"),
        (message("ADT^A08", control_id=""), "100", "hl7v2.malformed_header"),
        (b"PID|1||p1", "100", "hl7v2.malformed_header"),
        (b"", "100", "hl7v2.malformed_header"),
        (bytes(range(14, 256)), "100", "hl7v2.malformed_header"),
    ],
)
def test_what_will_never_be_taken_is_rejected_by_name_and_not_stored(
    post: Post, body: bytes, condition: str, code: str
) -> None:
    with post.sender() as sender:
        answer = sender.send(body)
        assert verdict(answer)[0] == "AR"
        assert error_of(answer) == (condition, code)
        assert verdict(sender.send(ADT)) == ("AA", "M1")
    assert [each.body for each in post.stored()] == [ADT]


def test_no_answer_repeats_what_the_message_says_of_a_patient(post: Post) -> None:
    with post.sender() as sender:
        answers = sender.send(ADT) + sender.send(ADT.replace(b"Jane", b"John"))
    assert not {"Doe", "Jane", "John", "p1", "19600203"} & set(answers.replace("^", "|").split("|"))


def test_several_messages_in_one_write_are_answered_in_order(post: Post) -> None:
    bodies = [message("ADT^A08", PID, control_id=f"M{number}") for number in range(20)]
    with post.sender() as sender:
        sender.connection.sendall(b"".join(framed(body) for body in bodies))
        answers = [verdict(sender.answer()) for _ in bodies]
    assert answers == [("AA", f"M{number}") for number in range(20)]


def test_a_message_that_comes_byte_by_byte_between_noise_is_taken(post: Post) -> None:
    with post.sender() as sender:
        for byte in b"\r\nnoise" + framed(ADT):
            sender.connection.sendall(bytes([byte]))
        assert verdict(sender.answer()) == ("AA", "M1")


def test_an_oversize_message_is_rejected_and_the_next_is_taken(post: Post) -> None:
    large = message("ADT^A08", PID, "NTE|1|L|" + "x" * 200_000, control_id="LARGE")
    with post.sender() as sender:
        answer = sender.send(large)
        assert verdict(answer) == ("AR", "LARGE")
        assert error_of(answer)[1] == "hl7v2.oversize"
        assert verdict(sender.send(ADT)) == ("AA", "M1")


def test_a_half_message_whose_connection_ends_is_not_stored(post: Post) -> None:
    with post.sender() as sender:
        sender.connection.sendall(framed(ADT)[:-1])
    with post.sender() as sender:
        assert verdict(sender.send(message("ADT^A08", control_id="M2"))) == ("AA", "M2")
    assert [each.sender_id for each in post.stored()] == ["ADT|GHH|M2"]


def test_while_the_database_is_away_the_sender_is_told_to_come_again(
    post: Post, database_url: str, engine: Engine
) -> None:
    with post.sender() as sender:
        assert verdict(sender.send(ADT)) == ("AA", "M1")
        _refuse_connections(database_url, engine, is_refusing=True)
        answer = sender.send(message("ADT^A08", control_id="M2"))
        assert verdict(answer) == ("AE", "M2")
        assert error_of(answer) == ("207", "storage.unavailable")
        _refuse_connections(database_url, engine, is_refusing=False)
        assert verdict(sender.send(message("ADT^A08", control_id="M2"))) == ("AA", "M2")


def _refuse_connections(url: str, engine: Engine, *, is_refusing: bool) -> None:
    """Cut every connection to the test's database, and let none in; or let them in again."""
    import psycopg
    from sqlalchemy import make_url

    parsed = make_url(url)
    plain = parsed.set(drivername="postgresql", database="postgres").render_as_string(
        hide_password=False
    )
    with psycopg.connect(plain, autocommit=True) as connection:
        allow = "false" if is_refusing else "true"
        connection.execute(f'ALTER DATABASE "{parsed.database}" ALLOW_CONNECTIONS {allow}'.encode())
        if is_refusing:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (parsed.database,),
            )
    if not is_refusing:
        engine.dispose()


def test_while_too_much_waits_the_sender_is_told_to_come_again(open_post: Open) -> None:
    full = LoadLimits(max_backlog=1, max_lateness=timedelta(hours=1), min_free_bytes=1)
    post = open_post(load=full)
    with post.sender() as sender:
        assert verdict(sender.send(ADT)) == ("AA", "M1")
        time.sleep(1.1)  # what is known of the load is a second old
        answer = sender.send(message("ADT^A08", control_id="M2"))
    assert verdict(answer) == ("AE", "M2")
    assert error_of(answer)[1] == "intake.overloaded"


@pytest.mark.parametrize(
    ("wanted", "good", "bad"),
    [
        ("AL|", "CA", "CR"),
        ("ER|", None, "CR"),
        ("SU|", "CA", None),
        ("|AL", "AA", "AR"),
        ("XX|", "CA", "CR"),
    ],
)
def test_enhanced_mode_tells_what_the_sender_wants_to_hear(
    post: Post, wanted: str, good: str | None, bad: str | None
) -> None:
    taken = message("ADT^A08", acknowledge=wanted)
    refused = message("ADT^A08", control_id="M2", version="9.9", acknowledge=wanted)
    with post.sender() as sender:
        for body, expected in ((taken, good), (refused, bad)):
            if expected is None:
                sender.connection.sendall(framed(body))
            else:
                assert verdict(sender.send(body))[0] == expected
            if expected is None and body is refused:
                assert sender.answer() == ""  # hung up on: it must learn that it was not stored
    assert len(post.stored()) == 1


def test_a_sender_that_wants_to_hear_nothing_is_stored_in_silence(post: Post) -> None:
    with post.sender() as sender:
        sender.connection.sendall(framed(message("ADT^A08", acknowledge="NE|NE")))
        assert verdict(sender.send(message("ADT^A08", control_id="M2"))) == ("AA", "M2")
    assert len(post.stored()) == 2


def test_a_stranger_is_hung_up_on_before_anything_is_read(post: Post) -> None:
    # Another address of this very machine, which no site has among its peers.
    with socket.socket() as connection:
        connection.bind(("127.0.0.2", 0))
        connection.connect(("127.0.0.1", post.listener.port))
        connection.settimeout(20)
        assert _is_closed(connection)


def _is_closed(connection: socket.socket) -> bool:
    try:
        connection.sendall(framed(ADT))
        return connection.recv(1) == b""
    except (ConnectionResetError, BrokenPipeError):
        return True


def test_one_connection_too_many_is_hung_up_on_and_the_others_go_on(open_post: Open) -> None:
    post = open_post(max_connections=2)
    with post.sender() as first, post.sender() as second:
        assert verdict(first.send(ADT)) == verdict(second.send(ADT)) == ("AA", "M1")
        with post.sender() as third:
            assert _is_closed(third.connection)
        assert verdict(first.send(ADT)) == ("AA", "M1")


def test_a_connection_that_says_nothing_is_closed(open_post: Open) -> None:
    post = open_post(idle_seconds=0.2)
    with post.sender() as sender:
        assert sender.answer() == ""


def test_stopping_answers_what_had_come(post: Post) -> None:
    with post.sender() as sender:
        assert verdict(sender.send(ADT)) == ("AA", "M1")
        sender.connection.sendall(framed(message("ADT^A08", control_id="M2")))
        assert verdict(sender.answer()) == ("AA", "M2")
        post.listener.stop()
        assert sender.answer() == ""
        post.listener.server_close()
    assert len(post.stored()) == 2


def test_a_burst_of_many_senders_loses_nothing_and_stores_nothing_twice(post: Post) -> None:
    verdicts: Counter[str] = Counter()
    lock = threading.Lock()

    def send(lane: int) -> None:
        with post.sender() as sender:
            for number in range(25):
                # Each message is sent twice, by two lanes at once.
                body = message("ADT^A08", PID, control_id=f"B{lane // 2}-{number}")
                answer = verdict(sender.send(body))
                with lock:
                    verdicts[answer[0]] += 1

    lanes = [threading.Thread(target=send, args=(lane,)) for lane in range(8)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    assert verdicts == {"AA": 200}
    assert len({each.sender_id for each in post.stored()}) == len(post.stored()) == 100


def test_a_client_that_somebody_else_wrote_is_understood(post: Post) -> None:
    """python-hl7's MLLPClient, which is also its command `mllp_send`."""
    with MLLPClient("127.0.0.1", post.listener.port) as client:
        answer = hl7.parse(client.send_message(hl7.parse(ADT.decode())).strip(b"\x0b\x1c\r"))
    assert str(answer.segment("MSA")[1]) == "AA"


def test_with_certificates_it_speaks_tls_only(open_post: Open, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=localhost -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    post = open_post(
        tls=Certificates(certificate=certificate, key=key, clients=certificate).context()
    )
    trusting = ssl.create_default_context(cafile=str(certificate))
    trusting.load_cert_chain(certificate, key)
    with (
        socket.create_connection(("127.0.0.1", post.listener.port), timeout=20) as plain,
        trusting.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(framed(ADT))
        assert b"MSA|AA|M1" in connection.recv(65536)
    with post.sender() as sender:
        assert _is_closed(sender.connection)
