"""Errors as the caller sees them: one table from our codes to HTTP, rendered as RFC 9457 problems.

Knows which status each error has. Does not repeat what the caller sent, nor why we broke.
"""

from collections.abc import MutableMapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from adapters.http.cds_requests import (
    InvalidCallError,
    PrefetchUnsatisfiedError,
    UnknownServiceError,
)
from adapters.http.cds_tokens import BadTokenError, MissingTokenError, ReplayedTokenError
from adapters.http.outcomes import fhir_answer, is_fhir, outcome
from clinical.audit.checkpoint import UntrustedNoteError
from clinical.audit.proof import NotYetSequencedError
from clinical.errors import ClinicalError, Loudness, NotFoundError, RejectedError
from clinical.prediction.library import NotInLibraryError
from clinical.prediction.plan import (
    MalformedPlanQuestionError,
    UnknownPlanActionError,
    UnusableGoalError,
)
from clinical.prediction.registry import ModelNotPromotedError, ModelStoppedError
from clinical.review.recall import NotToLookAtError
from clinical.review.review import (
    ClosedError,
    HeldByAnotherError,
    NotHolderError,
    StaleVersionError,
)
from clinical.services.cards import UnknownCardError
from clinical.services.intake import ConflictingDeliveryError, ErasedDeliveryError

PROBLEM_TYPE = "urn:clinical-jepa:problem:"
MEDIA_TYPE = "application/problem+json"


class UnknownSiteError(RejectedError):
    """No site of this name may deliver here."""

    code = "http.unknown_site"


class BadSignatureError(RejectedError):
    """The delivery is unsigned, signed by somebody else, altered, too old or from the future."""

    code = "http.bad_signature"


class TooLargeError(RejectedError):
    """The body is larger than this service accepts."""

    code = "http.too_large"


class IncompleteBodyError(RejectedError):
    """The connection ended before the body did."""

    code = "http.incomplete_body"


class UnsupportedMediaTypeError(RejectedError):
    """The body is not sent as plain JSON."""

    code = "http.unsupported_media_type"


class UnknownCallbackError(RejectedError):
    """The callback is of no known type; its bytes are kept."""

    code = "http.unknown_callback"


class SignedOutError(RejectedError):
    """Nobody is signed in, or the session has ended."""

    code = "http.signed_out"


class BadCredentialsError(RejectedError):
    """Name and password do not belong together."""

    code = "http.bad_credentials"


class TooManySignInsError(RejectedError):
    """Too many sign-ins failed a moment ago."""

    code = "http.too_many_sign_ins"


class MissingRequestHeaderError(RejectedError):
    """A write needs the header that no other site's page can send."""

    code = "http.missing_request_header"


class PreconditionRequiredError(RejectedError):
    """A write needs If-Match with the version that the caller read."""

    code = "http.precondition_required"


class NotAcceptableError(RejectedError):
    """The answer is asked for in a format that is not spoken here."""

    code = "http.not_acceptable"


class NotAllowedError(RejectedError):
    """The role of whoever asks does not allow this."""

    code = "http.not_allowed"


class BadCursorError(RejectedError):
    """The cursor was not made by this service, or for another filter."""

    code = "http.bad_cursor"


class InvalidRequestError(RejectedError):
    """The request does not fit its published schema."""

    code = "http.invalid_request"


class NoSuchPageError(RejectedError):
    """Nothing is served at this address."""

    code = "http.no_such_page"


class MethodNotAllowedError(RejectedError):
    """This address does not answer this method."""

    code = "http.method_not_allowed"


_STATUS = {
    BadCredentialsError.code: 401,
    BadSignatureError.code: 401,
    BadTokenError.code: 401,
    MissingTokenError.code: 401,
    ReplayedTokenError.code: 401,
    SignedOutError.code: 401,
    MissingRequestHeaderError.code: 403,
    NotAllowedError.code: 403,
    UntrustedNoteError.code: 403,
    NotFoundError.code: 404,
    NoSuchPageError.code: 404,
    UnknownCardError.code: 404,
    UnknownServiceError.code: 404,
    UnknownSiteError.code: 404,
    MethodNotAllowedError.code: 405,
    NotAcceptableError.code: 406,
    ClosedError.code: 409,
    ConflictingDeliveryError.code: 409,
    ErasedDeliveryError.code: 409,
    HeldByAnotherError.code: 409,
    ModelNotPromotedError.code: 409,
    ModelStoppedError.code: 409,
    NotToLookAtError.code: 409,
    NotHolderError.code: 409,
    PrefetchUnsatisfiedError.code: 412,
    StaleVersionError.code: 412,
    TooLargeError.code: 413,
    UnsupportedMediaTypeError.code: 415,
    InvalidRequestError.code: 422,
    MalformedPlanQuestionError.code: 422,
    NotInLibraryError.code: 422,
    UnknownPlanActionError.code: 422,
    UnusableGoalError.code: 422,
    PreconditionRequiredError.code: 428,
    TooManySignInsError.code: 429,
}
_BY_LOUDNESS = {Loudness.REJECTED: 400, Loudness.OPERATIONAL: 503, Loudness.BROKEN: 500}
_RETRY_AFTER = {TooManySignInsError.code: "300", NotYetSequencedError.code: "1"}
_ASK_AGAIN_SECONDS = "5"
_UNAUTHORIZED = 401
_BEARER = frozenset({BadTokenError.code, MissingTokenError.code, ReplayedTokenError.code})


def status_of(error: type[ClinicalError]) -> int:
    """The HTTP status of an error: by its code, else by whose move it is."""
    return _STATUS.get(error.code, _BY_LOUDNESS[error.loudness])


def problem(
    error: type[ClinicalError], request_id: str, detail: str = "", **more: object
) -> JSONResponse:
    """The problem document of an error; `more` are extension members."""
    status = status_of(error)
    content = {
        "type": PROBLEM_TYPE + error.code,
        "title": _title(error),
        "status": status,
        "detail": detail,
        "request_id": request_id,
        **more,
    }
    headers = {}
    if error.code in _BEARER:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = _RETRY_AFTER.get(error.code, _ASK_AGAIN_SECONDS)
    return JSONResponse(content, status, headers, media_type=MEDIA_TYPE)


def render_errors(app: FastAPI) -> None:
    """Make the app answer every error with a problem document."""
    app.add_exception_handler(ClinicalError, _clinical)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def request_id_of(request: Request) -> str:
    """The id under which the log and the audit entries of this request are found."""
    return str(request.scope.get("clinical_request_id", ""))


def address_of(request: HTTPConnection) -> str:
    """The network address that the request came from, as far as we know: a proxy's where one is not trusted."""
    return request.client.host if request.client else ""


def answer_of(
    scope: MutableMapping[str, Any], error: type[ClinicalError], detail: str = "", **more: object
) -> JSONResponse:
    """The error as this address tells it: FHIR in an OperationOutcome, all others in a problem."""
    scope["clinical_refused_why"] = error.code
    response = problem(error, str(scope.get("clinical_request_id", "")), detail, **more)
    if not is_fhir(scope["path"]):
        return response
    title, headers = _title(error), {}
    if response.status_code == _UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if "Retry-After" in response.headers:
        headers["Retry-After"] = response.headers["Retry-After"]
    told = outcome(error.code, title, response.status_code, detail)
    return fhir_answer(told, response.status_code, headers)


def _clinical(request: Request, error: Exception) -> Response:
    assert isinstance(error, ClinicalError)
    if error.loudness is Loudness.BROKEN:
        return answer_of(request.scope, ClinicalError)
    more = {}
    if isinstance(error, InvalidCallError):
        more["errors"] = [{"place": place.split("."), "rule": rule} for place, rule in error.places]
    return answer_of(request.scope, type(error), str(error), **more)


def _invalid(request: Request, error: Exception) -> Response:
    """Says where and by which rule, never what was sent: not even the name of a foreign field."""
    assert isinstance(error, RequestValidationError)
    found = []
    for item in error.errors():
        place = list(item["loc"])
        if item["type"] == "extra_forbidden":
            place[-1] = "?"
        found.append({"place": [str(step) for step in place], "rule": item["type"]})
    detail = "the request does not fit its schema"
    return answer_of(request.scope, InvalidRequestError, detail, errors=found)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    ours: type[ClinicalError] = {404: NoSuchPageError, 405: MethodNotAllowedError}.get(
        error.status_code, InvalidRequestError
    )
    response = answer_of(request.scope, ours)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


def _title(error: type[ClinicalError]) -> str:
    return (error.__doc__ or "").strip().split("\n")[0]
