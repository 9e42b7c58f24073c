"""The kept converter (`ccda-to-fhir`), made silent, repeatable and honest.

Its log lines hold values of the document, so none is let out; what it logs as lost comes back as
problems. It makes fresh ids at each run, so they are made anew from the order of the entries. It puts
words where it found no code; they are taken out again, and the FHIR reader then says what is missing.
"""

import logging
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import ccda_to_fhir
from ccda_to_fhir.logging_config import ConversionLogger
from typing_extensions import override

from adapters.ccda.errors import DocumentError, Reason

_PACKAGE = "ccda_to_fhir"
_LOCK = threading.Lock()  # the converter keeps its ids in a module
_LOSS = re.compile(
    r"^(Error|Failed|Unexpected|Skipping|Invalid|Unknown date|Year out)|failed validation",
    re.IGNORECASE,
)
_MADE_UP = re.compile(
    r"^(Unknown (condition|allergen|diagnosis)|Medication information not available)$"
    r"|^code=.*\bcode_system="
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """The Bundle with ids that are the same at each conversion, what was lost, and what was counted."""

    bundle: dict[str, Any]
    lost: tuple[str, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)


def converted(xml: str, patient_id: str) -> Converted:
    """The document as a FHIR Bundle about the site's own patient.

    Raises:
        DocumentError: the converter cannot make anything of it.
    """
    with _LOCK:
        listener = _Listener()
        _silence(listener)
        try:
            found = ccda_to_fhir.convert_document(xml)
        except Exception as error:
            # It raises what it likes; the type says why, the text may hold the document's values.
            raise DocumentError(
                Reason.UNCONVERTIBLE, f"the converter gives up: {type(error).__name__}"
            ) from error
        finally:
            logging.getLogger(_PACKAGE).removeHandler(listener)
    counts = listener.counts
    for template in found["metadata"]["skipped_templates"]:
        counts[f"skipped:template {template}"] += 1
    bundle = _renamed(found["bundle"], patient_id)
    return Converted(bundle=bundle, lost=tuple(listener.lost), counts=counts)


class _Listener(logging.Handler):
    """Hears what the converter says, and keeps of it where it was said and of what type."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lost: list[str] = []
        self.counts: Counter[str] = Counter()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        module = record.name.rpartition(".")[2]
        caught = record.exc_info[0] if record.exc_info else None
        if caught is not None:
            self.lost.append(f"{module}: {caught.__name__}")
        elif record.levelno >= logging.ERROR or _LOSS.search(str(record.msg)):
            self.lost.append(f"{module}: left out by the converter")
        else:
            self.counts[f"converter_note:{module}"] += 1


# Each of its loggers, also those that it makes as it runs, would print to standard output by itself.
ConversionLogger._setup_default_handler = lambda _self: None  # noqa: SLF001


def _silence(listener: logging.Handler) -> None:
    """Let nothing of what the converter says reach standard output or our logs."""
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if name.startswith(f"{_PACKAGE}.") and isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
    top = logging.getLogger(_PACKAGE)
    top.propagate = False
    top.addHandler(listener)


def _renamed(bundle: dict[str, Any], patient_id: str) -> dict[str, Any]:
    """Each resource named by its type and its place among its kind; the patient by the site's own id."""
    names: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    for entry in bundle.get("entry", ()):
        resource = entry["resource"]
        kind = resource["resourceType"]
        numbers[kind] += 1
        own = patient_id if kind == "Patient" else f"{kind}-{numbers[kind]}"
        old = resource.get("id", "")
        full = f"urn:ccda:{kind}:{numbers[kind]}"
        for each in (f"urn:uuid:{old}", f"{kind}/{old}", entry.get("fullUrl", "")):
            names[each] = full
        resource["id"], entry["fullUrl"] = own, full
        _without_made_up_words(resource)
    _refer(bundle, names)
    return bundle


def _without_made_up_words(resource: dict[str, Any]) -> None:
    for element in ("code", "medicationCodeableConcept", "vaccineCode"):
        concept = resource.get(element)
        if isinstance(concept, dict) and _MADE_UP.search(str(concept.get("text", ""))):
            del concept["text"]


def _refer(node: Any, names: dict[str, str]) -> None:
    if isinstance(node, dict):
        reference = node.get("reference")
        if isinstance(reference, str) and reference in names:
            node["reference"] = names[reference]
        for child in node.values():
            _refer(child, names)
    elif isinstance(node, list):
        for child in node:
            _refer(child, names)
