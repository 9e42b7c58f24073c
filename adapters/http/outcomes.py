"""Errors on the FHIR routes: an OperationOutcome in place of a problem document, with the same code."""

from typing import Any

from starlette.responses import JSONResponse

PREFIX = "/fhir"
MEDIA_TYPE = "application/fhir+json"
_CODES = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    422: "invalid",
    429: "throttled",
    500: "exception",
    503: "transient",
}


def is_fhir(path: str) -> bool:
    """Whether this address speaks FHIR."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def outcome(code: str, title: str, status: int, detail: str) -> dict[str, Any]:
    """The resource: our code and title, and the detail in our own words."""
    issue: dict[str, Any] = {
        "severity": "error",
        "code": _CODES.get(status, "processing"),
        "details": {
            "coding": [{"system": "urn:clinical-jepa:problem", "code": code}],
            "text": title,
        },
    }
    if detail:
        issue["diagnostics"] = detail
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def fhir_answer(
    content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> JSONResponse:
    """A resource as it is answered."""
    return JSONResponse(content, status, headers, media_type=MEDIA_TYPE)
