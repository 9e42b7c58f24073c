"""What must be known of a site to read its records: their addresses, and what its own codes mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from adapters.fhir import codes
from clinical.timeline.code import Code
from clinical.timeline.code_map import CodeMap


@dataclass(frozen=True, kw_only=True)
class SiteWays:
    """`bases` are the base URLs of the site's FHIR servers, without a slash at the end or with one.

    Of a site without bases the host of an absolute reference is not looked at.
    """

    bases: tuple[str, ...] = ()
    code_map: CodeMap | None = None

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """How an absolute reference to a record of the site begins."""
        return tuple(f"{base.rstrip('/')}/" for base in self.bases)

    @cached_property
    def meanings(self) -> Mapping[tuple[str, str], Code]:
        """By system and value of a code, as our readers write them, what it means."""
        stated = self.code_map.meanings if self.code_map is not None else {}
        return {
            (codes.SYSTEMS.get(system, system), value): meaning
            for (system, value), meaning in stated.items()
        }


NO_WAYS: Mapping[str, SiteWays] = MappingProxyType({})
NOTHING_KNOWN = SiteWays()
