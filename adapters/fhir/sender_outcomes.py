"""What a server says of its own answer: an OperationOutcome among what was asked for.

Knows severities and codes. The words of an issue may name patients: they stay in the stored bytes.
"""

import json
from typing import Any

_QUIET = frozenset({"information", "success"})
_MOST = 5


def complaint(raw: bytes) -> str | None:
    """Severity and code of each issue; None where all of them only inform."""
    issues = _issues(raw)
    if issues and all(each.get("severity") in _QUIET for each in issues):
        return None
    told = dict.fromkeys(f"{_word(each, 'severity')}: {_word(each, 'code')}" for each in issues)
    return ", ".join(list(told)[:_MOST]) or "no issue is named"


def _issues(raw: bytes) -> list[dict[str, Any]]:
    try:
        outcome = json.loads(raw)
    except (ValueError, RecursionError):
        return []
    issues = outcome.get("issue") if isinstance(outcome, dict) else None
    return [each for each in issues if isinstance(each, dict)] if isinstance(issues, list) else []


def _word(issue: dict[str, Any], name: str) -> str:
    """A code of FHIR, or that there is none: whatever else is there is not repeated."""
    said = issue.get(name)
    is_code = isinstance(said, str) and len(said) <= 40 and said.replace("-", "").isalpha()
    return str(said) if is_code else "unknown"
