"""The rules of IHE BALP 1.1 as code, for no package has its profiles: written from the IG's text.

`broken_rules` says what an AuditEvent breaks of the profile that it claims in `meta.profile`.
"""

import base64
from typing import Any

Json = dict[str, Any]

_BASE = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
# Profile: action, subtypes of which one is there, code of the client and of the server.
_RULES = {
    "Create": ("C", {"create"}, "110153", "110152"),
    "Read": ("R", {"read", "vread"}, "110152", "110153"),
    "Update": ("U", {"update", "patch"}, "110153", "110152"),
    "Delete": ("D", {"delete"}, "110150", "custodian"),
    "Query": ("E", {"search", "search-type", "search-system"}, "110153", "110152"),
}
_USER_TYPES = {"Read": {"IRCP"}, "Query": {"IRCP"}}
_SOURCES = {"AUT", "INF", "CST"}
_OBJECT_ROLES = {"4", "3", "20"}


def profile_of(event: Json) -> str:
    """The claimed profile without its prefix; empty where none is claimed."""
    (claimed,) = event["meta"].get("profile", [""])
    return str(claimed).removeprefix(_BASE)


def broken_rules(event: Json) -> list[str]:
    """Each rule that is broken, in words."""
    profile = profile_of(event)
    base = profile.removeprefix("Patient")
    action, subtypes, client, server = _RULES[base]
    broken = []
    if event["type"]["code"] != "rest" or event["action"] != action or event["outcome"] != "0":
        broken.append("type, action or outcome")
    if not subtypes & {each["code"] for each in event["subtype"]}:
        broken.append("no subtype of the interaction")
    if base == "Delete" and len(event["subtype"]) != 1:
        broken.append("a delete has one subtype")
    broken += _agents(event, base, client, server)
    broken += _entities(event, base, has_patient=profile.startswith("Patient"))
    return broken


def _agents(event: Json, base: str, client: str, server: str) -> list[str]:
    broken = []
    by_code: dict[str, list[Json]] = {}
    for agent in event["agent"]:
        by_code.setdefault(agent["type"]["coding"][0]["code"], []).append(agent)
    for code, name in ((client, "client"), (server, "server")):
        found = by_code.pop(code, [])
        if len(found) != 1:
            broken.append(f"not exactly one {name}")
        elif not found[0].get("who") or not found[0].get("network") or "media" in found[0]:
            broken.append(f"{name} without who or network")
        elif base == "Delete" and {"role", "name", "policy", "purposeOfUse"} & set(found[0]):
            broken.append(f"{name} of a delete says too much")
    for code, users in by_code.items():
        if code not in _USER_TYPES.get(base, _SOURCES) or len(users) != 1:
            broken.append(f"user of type {code}")
        broken += [
            "user without who, not requestor, or with a network"
            for user in users
            if not user.get("who") or user["requestor"] is not True or "network" in user
        ]
    return broken


def _entities(event: Json, base: str, *, has_patient: bool) -> list[str]:
    broken = []
    systems = [e for e in event["entity"] if e["type"]["code"] == "2"]
    patients = [e for e in event["entity"] if e["type"]["code"] == "1"]
    requests = [e for e in event["entity"] if e["type"]["code"] == "XrequestId"]
    if len(systems) != 1 or len(requests) > 1:
        broken.append("not exactly one object, or several requests")
    (system,) = systems
    if base == "Query":
        if system["role"]["code"] != "24" or {"what", "lifecycle", "detail"} & set(system):
            broken.append("query entity")
        base64.b64decode(system["query"], validate=True)
    elif system["role"]["code"] not in _OBJECT_ROLES or not system["what"]:
        broken.append("data entity")
    if has_patient and (
        len(patients) != 1
        or patients[0]["role"]["code"] != "1"
        or not patients[0]["what"]["reference"].startswith("Patient/")
    ):
        broken.append("not exactly one patient")
    broken += [
        "request entity"
        for each in requests
        if not each["what"]["identifier"]["value"]
        or not each["type"]["system"].endswith("BALP/CodeSystem/BasicAuditEntityType")
    ]
    return broken
