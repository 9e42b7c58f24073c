"""A document before it is converted: made safe, named, and rid of what the converter would get wrong.

Knows the header of a C-CDA (R2.1), XML's traps, and where the converter forgets `negationInd`. Does not
know FHIR.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from lxml import etree

from adapters.ccda.errors import DocumentError, Reason
from adapters.sites.hl7v2 import Ccda
from clinical.timeline.time import ClinicalTime, ImpossibleTimeError

MAX_BYTES = 16 * 1024 * 1024
_CDA = "{urn:hl7-org:v3}"
_PROBLEM, _ALLERGY = "2.16.840.1.113883.10.20.22.4.4", "2.16.840.1.113883.10.20.22.4.7"
_IMMUNIZATION = "2.16.840.1.113883.10.20.22.4.52"
_PROCEDURES = frozenset(f"2.16.840.1.113883.10.20.22.4.{number}" for number in (12, 13, 14))
_STATEMENTS = (
    "observation",
    "substanceAdministration",
    "act",
    "procedure",
    "encounter",
    "supply",
    "organizer",
)
_TIME = re.compile(r"(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(\d\d)(\d\d)?(?:\.\d+)?([+-]\d{4})?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalDocument:
    """What a document is called, whose it is, when it was made, and its XML as the converter gets it.

    `set_id` names all its versions: `setId`, or the document's own id where there is none. `negated`
    says of each statement that was left out, because the converter would have told its opposite, where.
    """

    set_id: str
    version: str
    patient_id: str
    made_at: datetime | None
    xml: str
    is_unstructured: bool
    negated: tuple[str, ...] = field(default=())


def opened(body: bytes, rules: Ccda, received_at: datetime) -> ClinicalDocument:
    """The document that these bytes are.

    Raises:
        DocumentError
    """
    root = _root(body)
    header_id = _identifier(root.find(f"{_CDA}id"))
    set_id = _identifier(root.find(f"{_CDA}setId")) or header_id
    if not set_id:
        raise DocumentError(Reason.MISSING_ID, "id: the document has no identifier")
    number = root.find(f"{_CDA}versionNumber")
    negated = tuple(_without_negated(root))
    return ClinicalDocument(
        set_id=set_id,
        version=(number.get("value") or "") if number is not None else "",
        patient_id=_patient(root, rules),
        made_at=_made_at(root, received_at),
        xml=etree.tostring(root, encoding="unicode"),
        is_unstructured=root.find(f"{_CDA}component/{_CDA}structuredBody") is None,
        negated=negated,
    )


def _root(body: bytes) -> Any:
    if len(body) > MAX_BYTES:
        raise DocumentError(Reason.TOO_LARGE, "the document is larger than 16 MiB")
    # No entity is resolved and nothing is fetched, whatever the document asks for.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise DocumentError(Reason.NOT_XML, "the bytes are no well-formed XML") from error
    if root.getroottree().docinfo.doctype or root.getroottree().docinfo.internalDTD is not None:
        raise DocumentError(Reason.DOCTYPE, "a document type declaration is not taken")
    if root.tag != f"{_CDA}ClinicalDocument":
        raise DocumentError(
            Reason.NOT_A_DOCUMENT, "the root is not urn:hl7-org:v3 ClinicalDocument"
        )
    return root


def _identifier(element: Any) -> str:
    """An instance identifier in one text; empty where it is missing or null."""
    if element is None or element.get("nullFlavor") or not element.get("root"):
        return ""
    extension = element.get("extension")
    return f"{element.get('root')}:{extension}" if extension else str(element.get("root"))


def _patient(root: Any, rules: Ccda) -> str:
    targets = root.findall(f"{_CDA}recordTarget/{_CDA}patientRole")
    if len(targets) > 1:
        raise DocumentError(
            Reason.AMBIGUOUS_PATIENT, "recordTarget: the document is of several patients"
        )
    found = {
        each.get("extension")
        for target in targets
        for each in target.findall(f"{_CDA}id")
        if each.get("root") == rules.patient_root and each.get("extension")
    }
    if not found:
        raise DocumentError(
            Reason.MISSING_PATIENT, "patientRole.id: none has the root of this site's patients"
        )
    if len(found) > 1:
        raise DocumentError(Reason.AMBIGUOUS_PATIENT, "patientRole.id: several have that root")
    return str(found.pop())


def _made_at(root: Any, received_at: datetime) -> datetime | None:
    """When this version was surely made; a time of day without its zone says the day alone."""
    element = root.find(f"{_CDA}effectiveTime")
    stated = (element.get("value") or "") if element is not None else ""
    if not stated:
        return None
    try:
        latest = _latest(stated)
    except (ImpossibleTimeError, ValueError, OverflowError) as error:
        raise DocumentError(
            Reason.IMPOSSIBLE_TIME, "effectiveTime: no calendar or clock shows it"
        ) from error
    return min(latest, received_at) if latest - timedelta(days=2) < received_at else latest


def _latest(stated: str) -> datetime:
    found = _TIME.fullmatch(stated)
    if found is None:
        raise ImpossibleTimeError("a time is written YYYYMMDDHHMMSS, or the first digits of it")
    year, month, day, hour, minute, second, zone = found.groups()
    if zone and day:
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
        own = timezone(-offset if zone[0] == "-" else offset)
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second or 59), tzinfo=own
        )
        return moment.astimezone(UTC)
    if day:
        return ClinicalTime.day(int(year), int(month), int(day)).latest
    if month:
        return ClinicalTime.month(int(year), int(month)).latest
    return ClinicalTime.year(int(year)).latest


def _without_negated(root: Any) -> Iterator[str]:
    """Take out each negated statement of a kind whose negation the converter overlooks."""
    for name in _STATEMENTS:
        for statement in root.findall(f".//{_CDA}{name}[@negationInd='true']"):
            templates = {each.get("root") for each in statement.findall(f"{_CDA}templateId")}
            if _is_understood(name, statement, templates):
                continue
            known = min(filter(None, templates), default="none")
            _take_out(statement)
            yield f"{name}, template {known}: what is said not to be so is left out"


def _take_out(statement: Any) -> None:
    """Remove it with its link, and with whatever holds nothing else; the section then has no information."""
    link = statement.getparent()
    holder = link.getparent() if link is not None else None
    if holder is None:
        return
    holder.remove(link)
    if any(each.find(f"{_CDA}{name}") is not None for each in holder for name in _STATEMENTS):
        return
    if holder.tag == f"{_CDA}section":
        holder.set("nullFlavor", "NI")
    elif etree.QName(holder).localname in _STATEMENTS:
        _take_out(holder)


def _is_understood(name: str, statement: Any, templates: set[str | None]) -> bool:
    if name == "observation":
        is_substance = statement.find(f".//{_CDA}playingEntity/{_CDA}code[@code]") is not None
        return _PROBLEM in templates or (_ALLERGY in templates and not is_substance)
    if name == "substanceAdministration":
        return _IMMUNIZATION in templates or statement.get("moodCode") != "EVN"
    return bool(templates & _PROCEDURES)
