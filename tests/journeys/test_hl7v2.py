"""HL7 v2 from a sender's socket, and C-CDA from a file, to events of one timeline, by real processes."""

from pathlib import Path

import pytest
from hl7.client import MLLPClient

from adapters.db.embedded import EmbeddedPostgres
from adapters.db.migrate import upgrade
from clinical.timeline.event import Event
from clinical.timeline.patient import PatientRef
from tests.adapters.ccda.documents import ROOT, document, result, section
from tests.adapters.hl7v2.messages import PID, SITE, message
from tests.adapters.hl7v2.test_results import obx, oru
from tests.journeys.test_outages import Ward
from tests.stack import Started, free_ports, wait_until

pytestmark = pytest.mark.integration
SITES = f"""
[sites.{SITE}.hl7v2]
peers = ["127.0.0.0/8"]

[[sites.{SITE}.hl7v2.senders]]
application = "ADT"
facility = "GHH"
patient_authority = "MRN"
patient_type = "MR"
time_zone = "America/New_York"
charset = "8859/1"

[sites.{SITE}.ccda]
patient_root = "{ROOT}"
"""
PATIENT = PatientRef(SITE, "p1").patient_id
ADMIT = message(
    "ADT^A01", "EVN|A01|20240601", PID, "PV1|1|I" + "|" * 17 + "v1" + "|" * 25 + "20240530"
)


def test_messages_and_documents_become_one_timeline_and_the_listener_stops_in_order(
    tmp_path: Path,
) -> None:
    (tmp_path / "sites.toml").write_text(SITES)
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        upgrade(server.url)
        ward = Ward(tmp_path, server.url)
        (port,) = free_ports(1)
        settings = ward.settings | {
            "CLINICAL_SITES_FILE": str(tmp_path / "sites.toml"),
            "CLINICAL_MLLP_PORT": str(port),
        }
        with Started(["mllp"], tmp_path, settings) as mllp, Started(["worker"], tmp_path, settings):
            mllp.wait_for("mllp.listening")
            with MLLPClient("127.0.0.1", port) as client:
                for body in (ADMIT, oru(obx()), oru(obx(value="4.5", status="C"), control_id="M2")):
                    answered = client.send_message(body.replace(b"|M1|", b"|C%d|" % len(body)))
                    assert b"MSA|AA|" in answered
            wait_until(lambda: _glucose(ward) == ["4.5"], 120)
            kinds = {event.source.record_type for event in _events(ward)}
            assert kinds == {"V2Patient", "V2Visit", "V2Result"}
            assert mllp.stop() == 0
            (tmp_path / "jane-doe.xml").write_bytes(document(section("results", result())))
            with Started(
                ["import", str(tmp_path / "jane-doe.xml"), "--site", SITE], tmp_path, settings
            ) as taken:
                assert taken.process.wait(120) == 0, taken.text()
        assert _glucose(ward) == ["4.5", "5.4"]
        assert "p1" not in mllp.text()
        ward.engine.dispose()


def _events(ward: Ward) -> list[Event]:
    with ward.open_unit_of_work() as uow:
        return list(uow.timelines.of(PATIENT))


def _glucose(ward: Ward) -> list[str]:
    found = [event.value for event in _events(ward) if event.code.value == "2345-7"]
    return sorted(str(getattr(value, "value", "")) for value in found)


def test_without_senders_in_the_sites_file_it_says_so_and_ends(tmp_path: Path) -> None:
    with Started(
        ["mllp"], tmp_path, {"CLINICAL_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    ) as mllp:
        assert mllp.process.wait(60) == 1
        assert "hl7v2.no_senders" in mllp.text()
