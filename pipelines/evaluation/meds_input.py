"""The NDJSON that converters to MEDS are measured on: Bundles of samples, told as a bulk export would.

One file for each type; references are `Type/id` instead of URNs, and each patient has a number under
an identifier system that ends in `/identifier/patient`, since `fhir2meds` finds subjects by it alone.
"""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_URN = re.compile(rb'"urn:uuid:([0-9a-f-]{36})"')


def write_ndjson(bodies: Sequence[bytes], folder: Path) -> int:
    """Write the resources of the Bundles; how many."""
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for number, body in enumerate(bodies, start=1):
        for resource in _resources(body):
            if resource["resourceType"] == "Patient":
                resource.setdefault("identifier", []).append(
                    {"system": "http://bench.invalid/identifier/patient", "value": str(number)}
                )
            lines[resource["resourceType"]].append(json.dumps(resource, separators=(",", ":")))
    for resource_type, told in lines.items():
        (folder / f"{resource_type}.ndjson").write_text("\n".join(told) + "\n", "utf-8")
    return sum(map(len, lines.values()))


def _resources(body: bytes) -> list[dict[str, Any]]:
    entries = json.loads(body)["entry"]
    types = {each["fullUrl"]: each["resource"]["resourceType"] for each in entries}

    def told(found: re.Match[bytes]) -> bytes:
        name = found[1].decode()
        return json.dumps(f"{types.get(f'urn:uuid:{name}', 'Unknown')}/{name}").encode()

    found = json.loads(_URN.sub(told, body))["entry"]
    return [each["resource"] for each in found]
