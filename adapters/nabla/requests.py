"""What is asked of Nabla, in the shape of the pinned version. A version is a date, compared as text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.nabla.connect import NoteExport
from adapters.nabla.errors import NothingToNormalizeError, UnsuitableRequestError

OLDEST = "2024-10-01"
LONGEST_CONTEXT = 700
_ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
_ICD_10_CM_NAMES = frozenset({_ICD_10_CM, "icd-10-cm"})
_CORRESPONDING_PROBLEMS = "2025-05-05"
_ACTIVE_DIAGNOSES = "2025-08-05"
_RENAMED_DIAGNOSES = "2025-11-14"
_LOCALE_IN_NOTE = "2026-02-20"
_TEMPLATE_KEY = "2026-07-01"
_STRUCTURED_ENCOUNTER = "2026-02-13"
_USERS = "2026-03-23"

SECTION_KEYS: Mapping[str, str] = {
    "CHIEF_COMPLAINT": "CHIEF_COMPLAINT",
    "HISTORY_OF_PRESENT_ILLNESS": "HISTORY_OF_PRESENT_ILLNESS",
    "PAST_HISTORY": "PAST_MEDICAL_HISTORY",
    "CURRENT_MEDICATIONS": "CURRENT_MEDICATIONS",
    "VITALS": "VITALS",
    "IMMUNIZATIONS": "IMMUNIZATIONS",
    "ASSESSMENT_AND_PLAN": "ASSESSMENT_AND_PLAN",
    "EXAMINATION": "PHYSICAL_EXAM",
    "PRESCRIPTIONS": "PRESCRIPTION",
    "APPOINTMENTS": "APPOINTMENTS",
}
"""Connect's categories in Core's keys. `RESULTS` may be of the laboratory or of imaging, and a section
without a category may be anything: these are sent only where the site names a key for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSettings:
    """What a site says of its notes; `section_keys` adds to SECTION_KEYS, with `null` for no category."""

    locale: str
    template: str
    section_keys: Mapping[str, str] = field(default_factory=dict)


def normalization(export: NoteExport, settings: NoteSettings, version: str) -> dict[str, Any]:
    """The body of `generate-normalized-data` for a note that came by Connect.

    Raises:
        NothingToNormalizeError: no section can be sent.
        UnsuitableRequestError: the version is older than any that is known.
    """
    if version < OLDEST:
        raise UnsuitableRequestError(f"api_version: nothing is known of versions before {OLDEST}")
    sections = _sections(export, settings)
    if not sections:
        raise NothingToNormalizeError("no section of the note has a key to send it under")
    note: dict[str, Any] = {"sections": sections}
    if isinstance(export.note.title, str) and export.note.title:
        note["title"] = export.note.title
    request: dict[str, Any] = {"note": note}
    if version >= _LOCALE_IN_NOTE:
        note["locale"] = settings.locale
        note["template_key" if version >= _TEMPLATE_KEY else "template"] = settings.template
    else:
        request["note_locale"] = settings.locale
        request["note_template"] = settings.template
    if version >= _CORRESPONDING_PROBLEMS:
        request["include_corresponding_note_problems"] = False
    diagnoses = list(_diagnoses(export.visit_diagnoses or ()))
    if diagnoses and version >= _ACTIVE_DIAGNOSES:
        is_renamed = version >= _RENAMED_DIAGNOSES
        name = "encounter_diagnoses_coding" if is_renamed else "active_encounter_diagnoses_coding"
        request[name] = diagnoses
    return request


def _sections(export: NoteExport, settings: NoteSettings) -> list[dict[str, str]]:
    keys = {**SECTION_KEYS, **settings.section_keys}
    return [
        {"key": key, "title": each.title if isinstance(each.title, str) else "", "text": text}
        for each in export.note.sections
        if (key := keys.get(each.category or "null"))
        and isinstance(text := each.content, str)
        and text.strip()
    ]


def _diagnoses(stated: Iterable[Any]) -> Iterable[dict[str, str]]:
    """Only what the API takes: ICD-10-CM with a display."""
    for each in stated:
        match each:
            case {"system": str(system), "code": str(code), "display": str(display)}:
                if system.strip().lower() in _ICD_10_CM_NAMES:
                    yield {"system": _ICD_10_CM, "code": code, "display": display}
            case _:
                pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Encounter:
    """An encounter to be opened in Nabla. Names, dates and words are the caller's, unchanged.

    `gender`: MALE, FEMALE, OTHER, and before 2026-02-13 UNKNOWN; `pronouns`: HE_HIM, SHE_HER, THEY_THEM.
    """

    provider_email: str
    external_provider_id: str
    external_patient_id: str
    external_encounter_id: str
    name: str
    birth_date: str
    gender: str
    pronouns: str | None = None
    visit_diagnoses: tuple[Mapping[str, str], ...] = ()
    unstructured_context: str = ""


def encounter(stated: Encounter, version: str) -> dict[str, Any]:
    """The body of `POST /encounters`; the two shapes of it are never mixed.

    Raises:
        UnsuitableRequestError: something is said that this version has no place for.
    """
    request: dict[str, Any] = {
        "provider_email": stated.provider_email,
        "external_provider_id": stated.external_provider_id,
        "external_patient_id": stated.external_patient_id,
        "external_encounter_id": stated.external_encounter_id,
    }
    if not all(request.values()):
        raise UnsuitableRequestError("the provider, the patient and the encounter are required")
    if len(stated.unstructured_context) > LONGEST_CONTEXT:
        raise UnsuitableRequestError(f"unstructured_context: at most {LONGEST_CONTEXT} characters")
    if stated.unstructured_context:
        request["unstructured_context"] = stated.unstructured_context
    is_structured = version >= _STRUCTURED_ENCOUNTER
    return request | (_structured(stated) if is_structured else _before_structured(stated))


def _structured(stated: Encounter) -> dict[str, Any]:
    _require_one_of(stated.gender, "gender", ("MALE", "FEMALE", "OTHER"))
    _require_one_of(stated.pronouns, "pronouns", (None, "HE_HIM", "SHE_HER", "THEY_THEM"))
    diagnoses = list(_diagnoses(stated.visit_diagnoses))
    if len(diagnoses) != len(stated.visit_diagnoses):
        raise UnsuitableRequestError("visit_diagnoses: only ICD-10-CM, each with its display")
    demographics = {
        "name": stated.name,
        "birth_date": stated.birth_date,
        "gender": stated.gender,
        "pronouns": stated.pronouns,
    }
    context = {"patient_demographics": demographics, "visit_diagnoses": diagnoses}
    return {"structured_context": context}


def _before_structured(stated: Encounter) -> dict[str, Any]:
    _require_one_of(stated.gender, "gender", ("MALE", "FEMALE", "OTHER", "UNKNOWN"))
    if stated.visit_diagnoses:
        raise UnsuitableRequestError(
            f"visit_diagnoses: there were none before {_STRUCTURED_ENCOUNTER}"
        )
    stated_of = {
        "patient_name": stated.name,
        "patient_dob": stated.birth_date,
        "patient_gender": stated.gender,
    }
    pronouns = {"patient_pronouns": stated.pronouns} if stated.pronouns else {}
    return {"encounter_data": stated_of | pronouns}


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A clinician to be known to Connect; `settings` as Nabla has them, sent as they are."""

    provider_email: str
    external_provider_id: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def user(stated: User, version: str) -> dict[str, Any]:
    """The body of `POST /users`; raises UnsuitableRequestError before 2026-03-23."""
    if version < _USERS:
        raise UnsuitableRequestError(f"users: api_version {_USERS} or later is needed")
    request = {
        "provider_email": stated.provider_email,
        "external_provider_id": stated.external_provider_id,
    }
    return request | ({"settings": dict(stated.settings)} if stated.settings else {})


def _require_one_of(stated: str | None, name: str, known: tuple[str | None, ...]) -> None:
    if stated not in known:
        words = ", ".join(str(each) for each in known if each)
        raise UnsuitableRequestError(f"{name}: one of {words}")
