"""What a FHIR server says that it can do (its CapabilityStatement), as far as telling it goes.

Statements are often incomplete: what is not said counts as not offered only where the statement
lists that kind of thing at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """`interactions` by resource type; None where the server lists no types at all."""

    fhir_version: str = ""
    software: str = ""
    interactions: Mapping[str, frozenset[str]] | None = None
    conditional_creates: frozenset[str] = frozenset()
    searches: Mapping[str, frozenset[str]] = field(default_factory=dict)
    has_transaction: bool | None = None
    operations: frozenset[str] = frozenset()  # by name, such as `export`

    def can_create(self, resource_type: str) -> bool:
        """Whether it takes new ones; a type listed without interactions is given the benefit of doubt."""
        if self.interactions is None:
            return True
        offered = self.interactions.get(resource_type)
        return offered is not None and (not offered or "create" in offered)

    @property
    def is_r4(self) -> bool:
        """Whether it speaks R4, or does not say."""
        return self.fhir_version in ("", "4.0.0", "4.0.1") or self.fhir_version.startswith("4.0")


def capability_of(statement: Mapping[str, Any]) -> Capability:
    """What a CapabilityStatement offers (its first `rest` of mode server); unknown where it is none."""
    rest = _server_of(statement)
    if rest is None:
        return Capability()
    types = {str(each.get("type")): each for each in _dicts(rest.get("resource"))}
    wide = {_code(each) for each in _dicts(rest.get("interaction"))}
    software = statement.get("software")
    return Capability(
        fhir_version=str(statement.get("fhirVersion", "")),
        software=str(software.get("name", "")) if isinstance(software, dict) else "",
        interactions={
            name: frozenset(map(_code, _dicts(each.get("interaction"))))
            for name, each in types.items()
        }
        if types
        else None,
        conditional_creates=frozenset(
            name for name, each in types.items() if each.get("conditionalCreate") is True
        ),
        searches={
            name: frozenset(str(found.get("name")) for found in _dicts(each.get("searchParam")))
            for name, each in types.items()
        },
        has_transaction="transaction" in wide if wide else None,
        operations=frozenset(
            str(each.get("name")).lstrip("$")
            for offers in (rest, *types.values())
            for each in _dicts(offers.get("operation"))
        ),
    )


def _server_of(statement: Mapping[str, Any]) -> dict[str, Any] | None:
    if statement.get("resourceType") != "CapabilityStatement":
        return None
    servers = [each for each in _dicts(statement.get("rest")) if each.get("mode") == "server"]
    return servers[0] if servers else None


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _code(interaction: dict[str, Any]) -> str:
    return str(interaction.get("code"))
