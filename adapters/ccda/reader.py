"""A stored document to timeline events: converted, read as any FHIR is, and told as a version of one record.

All that a document says is one record, named by its set id: a newer version replaces the whole of the
one before, also what it no longer says. Knows no FHIR: who reads the Bundle is passed in.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from adapters.ccda.conversion import converted
from adapters.ccda.document import ClinicalDocument, opened
from adapters.ccda.errors import DocumentError, Reason
from adapters.sites.hl7v2 import Ccda
from clinical.services.delivery import Delivery, Quarantined, Reading
from clinical.timeline.code import CodeSystem
from clinical.timeline.event import Event, EventKind, Source, Standing

RECORD_TYPE = "ClinicalDocument"
_NOTHING_KNOWN = frozenset(
    {
        "716186003",  # no known allergy
        "160244002",  # no known allergies
        "409137002",  # no known drug allergy
        "429625007",  # no known food allergy
        "428607008",  # no known environmental allergy
        "428197003",  # no known insect allergy
        "1003774007",  # no known latex allergy
        "160245001",  # no current problems or disability
    }
)
"""SNOMED CT codes that say that there is nothing: never a fact that there is something."""

ReadFhir = Callable[[Delivery], Reading]


class CcdaReader:
    """Door.CCDA and CCDA_FILE: one document each, by the rules of its site."""

    def __init__(self, sites: Mapping[str, Ccda], read_fhir: ReadFhir) -> None:
        """The rules, by site; `read_fhir` understands a Bundle in a delivery."""
        self._sites = sites
        self._read_fhir = read_fhir

    def read(self, delivery: Delivery) -> Reading:
        """Understand one document; what cannot be is quarantined."""
        try:
            document = opened(delivery.body, self._rules(delivery), delivery.received_at)
            return self._read(delivery, document)
        except DocumentError as error:
            reading = Reading()
            reading.quarantined.append(_aside(delivery, "", error.reason, error.detail))
            return reading

    def _rules(self, delivery: Delivery) -> Ccda:
        if "problem" in delivery.context:
            raise DocumentError(Reason(delivery.context["problem"]), "the file is not read")
        rules = self._sites.get(delivery.site)
        if rules is None:
            raise DocumentError(
                Reason.NO_RULES, "the site's file does not say whose patients these are"
            )
        return rules

    def _read(self, delivery: Delivery, document: ClinicalDocument) -> Reading:
        found = converted(document.xml, document.patient_id)
        for entry in found.bundle["entry"]:
            if document.made_at is not None:
                entry["resource"].setdefault("meta", {})["lastUpdated"] = (
                    document.made_at.isoformat(timespec="milliseconds")
                )
        reading = self._read_fhir(
            replace(
                delivery,
                body=json.dumps(found.bundle, default=str).encode(),
                content_type="application/fhir+json",
                context={},
            )
        )
        source = _source(delivery, document)
        reading.events = [_retold(event, source) for event in reading.events]
        reading.quarantined = [
            replace(each, position=f"converted {each.position}", digest=delivery.digest)
            for each in reading.quarantined
        ]
        for number, detail in enumerate(document.negated):
            reading.quarantined.append(
                _aside(delivery, f"negated[{number}]", Reason.NEGATED, detail)
            )
        for number, detail in enumerate(found.lost):
            reading.quarantined.append(
                _aside(delivery, f"converter[{number}]", Reason.NOT_CONVERTED, detail)
            )
        reading.counts.update(found.counts)
        if document.is_unstructured:
            reading.counts["skipped:unstructured body"] += 1
        return reading


def _source(delivery: Delivery, document: ClinicalDocument) -> Source:
    return Source(
        site=delivery.site,
        record_type=RECORD_TYPE,
        record_id=document.set_id.replace("/", "_"),
        version=document.version,
        digest=delivery.digest,
        delivery_id=delivery.delivery_id,
        updated_at=document.made_at,
    )


def _retold(event: Event, source: Source) -> Event:
    """The same fact as a part of the document; that nothing is known is no fact of something."""
    own = event.source
    part = "/".join(filter(None, (own.record_type, own.record_id, event.part)))
    if event.kind is EventKind.PATIENT or event.kind is EventKind.DEATH:
        part = "/".join(filter(None, ("Patient", event.part)))
    says_nothing = (
        event.kind in {EventKind.ALLERGY, EventKind.CONDITION}
        and event.code.system is CodeSystem.SNOMED_CT
        and event.code.value in _NOTHING_KNOWN
    )
    return replace(
        event,
        source=source,
        part=part,
        standing=Standing.REFUTED if says_nothing else event.standing,
    )


def _aside(delivery: Delivery, position: str, reason: Reason, detail: str) -> Quarantined:
    return Quarantined(
        position=position,
        record_type=RECORD_TYPE,
        record_id="",
        digest=delivery.digest,
        reason_code=reason.value,
        detail=detail,
    )
