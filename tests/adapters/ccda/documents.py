"""C-CDA documents made entry by entry, with the least header that the converter takes."""

from datetime import UTC, datetime
from uuid import UUID

from adapters.ccda.reader import CcdaReader
from adapters.fhir.reader import StrictReader
from adapters.sites.hl7v2 import Ccda
from clinical.services.delivery import Delivery, Door, Reading

ROOT = "1.2.3"
RECEIVED = datetime(2024, 6, 2, tzinfo=UTC)
_SECTIONS = {
    "problems": ("2.16.840.1.113883.10.20.22.2.5.1", "11450-4"),
    "allergies": ("2.16.840.1.113883.10.20.22.2.6.1", "48765-2"),
    "medications": ("2.16.840.1.113883.10.20.22.2.1.1", "10160-0"),
    "results": ("2.16.840.1.113883.10.20.22.2.3.1", "30954-2"),
}


def document(
    *sections: str,
    set_id: str = '<setId root="9.9" extension="set1"/>',
    version: int = 1,
    made: str = '<effectiveTime value="20240601120000+0000"/>',
    patients: str = f'<id root="{ROOT}" extension="p1"/><id root="4.4" extension="999"/>',
) -> bytes:
    """A document; its own id differs from version to version."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<realmCode code="US"/><typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
<templateId root="2.16.840.1.113883.10.20.22.1.1" extension="2015-08-01"/>
<id root="9.9" extension="doc{version}"/>
<code code="34133-9" codeSystem="2.16.840.1.113883.6.1"/><title>Summary</title>{made}
<confidentialityCode code="N" codeSystem="2.16.840.1.113883.5.25"/><languageCode code="en-US"/>
{set_id}<versionNumber value="{version}"/>
<recordTarget><patientRole>{patients}
<addr><streetAddressLine>1 Main</streetAddressLine><city>X</city><state>NY</state></addr><telecom nullFlavor="UNK"/>
<patient><name><given>Jane</given><family>Doe</family></name>
<administrativeGenderCode code="F" codeSystem="2.16.840.1.113883.5.1"/><birthTime value="19600203"/>
</patient></patientRole></recordTarget>
<author><time value="20240601120000+0000"/><assignedAuthor><id root="5.5" extension="a1"/>
<addr><city>X</city></addr><telecom nullFlavor="UNK"/>
<assignedPerson><name><given>A</given><family>B</family></name></assignedPerson></assignedAuthor></author>
<custodian><assignedCustodian><representedCustodianOrganization><id root="6.6"/><name>Org</name>
<telecom nullFlavor="UNK"/><addr><city>X</city></addr></representedCustodianOrganization></assignedCustodian></custodian>
<component><structuredBody>{"".join(sections)}</structuredBody></component></ClinicalDocument>""".encode()


def section(name: str, *entries: str) -> str:
    """A section of the body."""
    template, code = _SECTIONS[name]
    return (
        f'<component><section><templateId root="{template}" extension="2015-08-01"/>'
        f'<templateId root="{template}"/><code code="{code}" codeSystem="2.16.840.1.113883.6.1"/>'
        f"<title>{name}</title><text>words</text>{''.join(entries)}</section></component>"
    )


def problem(
    value: str = 'code="44054006" codeSystem="2.16.840.1.113883.6.96" displayName="Diabetes"',
    *,
    onset: str = "20200101",
    negated: str = "",
    number: int = 1,
) -> str:
    """A problem concern with one problem observation."""
    return f"""<entry><act classCode="ACT" moodCode="EVN">
<templateId root="2.16.840.1.113883.10.20.22.4.3" extension="2015-08-01"/>
<templateId root="2.16.840.1.113883.10.20.22.4.3"/>
<id root="7.7" extension="concern{number}"/><code code="CONC" codeSystem="2.16.840.1.113883.5.6"/>
<statusCode code="active"/><effectiveTime><low value="{onset}"/></effectiveTime>
<entryRelationship typeCode="SUBJ"><observation classCode="OBS" moodCode="EVN" {negated}>
<templateId root="2.16.840.1.113883.10.20.22.4.4" extension="2015-08-01"/>
<templateId root="2.16.840.1.113883.10.20.22.4.4"/>
<id root="7.7" extension="problem{number}"/>
<code code="55607006" codeSystem="2.16.840.1.113883.6.96"/><statusCode code="completed"/>
<effectiveTime><low value="{onset}"/></effectiveTime><value xsi:type="CD" {value}/>
</observation></entryRelationship></act></entry>"""


def allergy(participant: str, negated: str = "") -> str:
    """An allergy concern with one allergy observation."""
    return f"""<entry><act classCode="ACT" moodCode="EVN">
<templateId root="2.16.840.1.113883.10.20.22.4.30" extension="2015-08-01"/>
<templateId root="2.16.840.1.113883.10.20.22.4.30"/>
<id root="7.7" extension="ac1"/><code code="CONC" codeSystem="2.16.840.1.113883.5.6"/>
<statusCode code="active"/><effectiveTime><low value="20200101"/></effectiveTime>
<entryRelationship typeCode="SUBJ"><observation classCode="OBS" moodCode="EVN" {negated}>
<templateId root="2.16.840.1.113883.10.20.22.4.7" extension="2014-06-09"/>
<templateId root="2.16.840.1.113883.10.20.22.4.7"/>
<id root="7.7" extension="ao1"/><code code="ASSERTION" codeSystem="2.16.840.1.113883.5.4"/>
<statusCode code="completed"/><effectiveTime><low value="20200101"/></effectiveTime>
<value xsi:type="CD" code="419199007" codeSystem="2.16.840.1.113883.6.96" displayName="Allergy to substance"/>
<participant typeCode="CSM"><participantRole classCode="MANU"><playingEntity classCode="MMAT">
<code {participant}/></playingEntity></participantRole></participant>
</observation></entryRelationship></act></entry>"""


def medication(negated: str = "") -> str:
    """A medication that was taken."""
    return f"""<entry><substanceAdministration classCode="SBADM" moodCode="EVN" {negated}>
<templateId root="2.16.840.1.113883.10.20.22.4.16" extension="2014-06-09"/>
<templateId root="2.16.840.1.113883.10.20.22.4.16"/>
<id root="7.7" extension="m1"/><statusCode code="completed"/>
<effectiveTime xsi:type="IVL_TS"><low value="20240101"/><high value="20240201"/></effectiveTime>
<doseQuantity value="1"/>
<consumable><manufacturedProduct classCode="MANU"><templateId root="2.16.840.1.113883.10.20.22.4.23" extension="2014-06-09"/>
<manufacturedMaterial><code code="197361" codeSystem="2.16.840.1.113883.6.88" displayName="Amlodipine 5 MG"/>
</manufacturedMaterial></manufacturedProduct></consumable></substanceAdministration></entry>"""


def result(at: str = "202405301030+0000", negated: str = "") -> str:
    """A panel with one result."""
    return f"""<entry><organizer classCode="BATTERY" moodCode="EVN">
<templateId root="2.16.840.1.113883.10.20.22.4.1" extension="2015-08-01"/>
<templateId root="2.16.840.1.113883.10.20.22.4.1"/>
<id root="7.7" extension="panel"/><code code="24323-8" codeSystem="2.16.840.1.113883.6.1" displayName="Panel"/>
<statusCode code="completed"/><component><observation classCode="OBS" moodCode="EVN" {negated}>
<templateId root="2.16.840.1.113883.10.20.22.4.2" extension="2015-08-01"/>
<templateId root="2.16.840.1.113883.10.20.22.4.2"/>
<id root="7.7" extension="r1"/><code code="2345-7" codeSystem="2.16.840.1.113883.6.1" displayName="Glucose"/>
<statusCode code="completed"/><effectiveTime value="{at}"/>
<value xsi:type="PQ" value="5.4" unit="mmol/L"/></observation></component></organizer></entry>"""


def delivery(body: bytes, received_at: datetime = RECEIVED) -> Delivery:
    """A document in the inbox."""
    return Delivery(
        delivery_id=UUID(int=9),
        site="north",
        door=Door.CCDA,
        sender_id="w1",
        body=body,
        content_type="text/xml",
        received_at=received_at,
    )


def reader() -> CcdaReader:
    """The reader as the worker has it, with the rules of one site."""
    return CcdaReader({"north": Ccda(patient_root=ROOT)}, StrictReader().read)


def read(body: bytes) -> Reading:
    """What is understood of a document."""
    return reader().read(delivery(body))
