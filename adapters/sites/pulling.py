"""What is asked of a site's FHIR server on our own account: bulk exports, and what changed of late."""

from typing import Annotated

from msgspec import Meta, Struct

_Length = Annotated[float, Meta(gt=0)]
_TypeName = Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z]{1,63}$")]
# A comma would end it: the filters of one export are sent with commas between them.
_Filter = Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z]{1,63}\?[^,]+$")]
_INSTANT = r"^$|^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$"


class Bulk(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a bulk export is asked for, and what we put up with; nothing starts one by itself.

    `output_format` empty: not sent, for some servers refuse what is their default.
    """

    group: Annotated[str, Meta(pattern=r"^[A-Za-z0-9\-.]{0,64}$")] = ""
    types: tuple[_TypeName, ...] = ()
    type_filters: tuple[_Filter, ...] = ()
    output_format: str = "application/fhir+ndjson"
    max_wait_minutes: _Length = 24 * 60.0
    """A job that is not ready by then is called off."""
    max_file_bytes: int = 64 * 1024 * 1024 * 1024
    max_file_minutes: _Length = 240.0


class Poll(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker asks for every so often: the resources of these types that changed."""

    types: Annotated[tuple[_TypeName, ...], Meta(min_length=1)]
    every_minutes: _Length = 15.0
    overlap_minutes: Annotated[float, Meta(ge=0)] = 10.0
    """So far before the newest stamp seen: what the server brings to light late is found there."""
    page_size: Annotated[int, Meta(ge=1, le=10_000)] = 200
    since: Annotated[str, Meta(pattern=_INSTANT)] = ""
    """From where the first poll asks (an instant); empty: everything that the server holds."""
