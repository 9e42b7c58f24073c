"""What every FHIR resource has, as a msgspec struct."""

from msgspec import Raw, Struct

from adapters.fhir.datatypes import UNREAD, Meta, Text, closed


@closed("language text extension _implicitRules _language")
class Resource(Struct, kw_only=True, gc=False):
    """The common elements. `modifierExtension` and `implicitRules` change what all others mean."""

    id: Text | None = None
    meta: Meta | None = None
    implicitRules: Raw = UNREAD  # noqa: N815 - FHIR's spelling
    contained: list[Raw] | None = None
    modifierExtension: Raw = UNREAD  # noqa: N815
