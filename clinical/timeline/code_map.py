"""What a site's own codes mean in standard terminologies, as the site says."""

from collections.abc import Mapping
from dataclasses import dataclass

from clinical.timeline.code import Code

Stated = tuple[str, str]
"""A system as the sender writes it (a URI, or nothing), and a code in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeMap:
    """From codes as a site writes them to codes of terminologies that are known by name.

    `digest` is the hex SHA-256 of the bytes that the map was read from: its version.
    """

    meanings: Mapping[Stated, Code]
    digest: str
