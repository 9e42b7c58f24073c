"""What a FHIR reference points at: the type and id of a record of the same site."""

import re
from collections.abc import Mapping

from adapters.fhir.errors import Reason, RecordError

Target = tuple[str, str]
"""Type and id, e.g. `("Patient", "123")`."""

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def is_valid_id(text: str) -> bool:
    """Whether `text` may be a resource id (R4 section 2.24.0.1)."""
    return _ID.fullmatch(text) is not None


def target_of(
    reference: str, links: Mapping[str, Target | None], path: str, bases: tuple[str, ...] = ()
) -> Target:
    """The record that a literal reference names, through the Bundle's `links` from fullUrl where it is there.

    Of an absolute URL the last two segments count, if it begins with one of `bases` or if there are
    none; it is never fetched. `_history/…` is dropped: a version of a record is that record.

    Raises:
        RecordError: it is a `urn:` that nobody carries or that two records carry, a search, a
            contained resource, a record of another server, or no reference.
    """
    if reference in links:
        found = links[reference]
        if found is None:
            raise RecordError(
                Reason.AMBIGUOUS_REFERENCE, f"{path}: two records of this delivery are called so"
            )
        return found
    if reference.startswith("urn:"):
        raise RecordError(
            Reason.UNRESOLVED_REFERENCE, f"{path}: nobody in this delivery carries this URN"
        )
    if "?" in reference or reference.startswith("#"):
        raise RecordError(
            Reason.LOGICAL_REFERENCE, f"{path}: a search or a contained resource is no identity"
        )
    if bases and "://" in reference and not reference.startswith(bases):
        raise RecordError(
            Reason.FOREIGN_REFERENCE, f"{path}: the record is on a server that is not the site's"
        )
    segments = reference.split("/")
    if len(segments) > 3 and segments[-2] == "_history":
        segments = segments[:-2]
    if len(segments) < 2 or not segments[-2].isalpha():
        raise RecordError(Reason.UNRESOLVED_REFERENCE, f"{path}: a reference is written Type/id")
    if not is_valid_id(segments[-1]):
        raise RecordError(Reason.BAD_ID, f"{path}: the id in the reference is not a FHIR id")
    return segments[-2], segments[-1]
