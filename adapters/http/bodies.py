"""Raw bodies under a limit: read as a stream, never more than the limit into memory."""

from fastapi import Request
from starlette.requests import ClientDisconnect

from adapters.http.errors import IncompleteBodyError, TooLargeError, UnsupportedMediaTypeError


def require_json(request: Request) -> str:
    """The stated content type; raises UnsupportedMediaTypeError unless it is plain JSON.

    Compressed bodies are refused: a few kilobytes may unpack to gigabytes.
    """
    essence = essence_of(request)
    if essence != "application/json" and not essence.endswith("+json"):
        raise UnsupportedMediaTypeError("send application/fhir+json or application/json")
    _require_plain(request)
    return essence


def require_xml(request: Request) -> str:
    """The stated content type; raises UnsupportedMediaTypeError unless it is plain XML."""
    essence = essence_of(request)
    if essence not in {"application/xml", "text/xml"}:
        raise UnsupportedMediaTypeError("send application/xml or text/xml")
    _require_plain(request)
    return essence


def essence_of(request: Request) -> str:
    """The stated content type without its parameters, in small letters."""
    return request.headers.get("content-type", "").split(";", 1)[0].strip().lower()


def _require_plain(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaTypeError("send the body uncompressed")


async def read_limited(request: Request, limit: int) -> bytes:
    """The body as received.

    Raises:
        TooLargeError: more than `limit` bytes are announced or arrive; the rest is not read.
        IncompleteBodyError
    """
    refusal = TooLargeError(f"the body may have at most {limit} bytes")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise refusal
    body = bytearray()
    try:
        async for chunk in request.stream():
            if len(body) + len(chunk) > limit:
                raise refusal
            body += chunk
    except ClientDisconnect as error:
        raise IncompleteBodyError("the connection ended before the body did") from error
    return bytes(body)
