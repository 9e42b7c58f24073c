"""The id of the request that work goes back to: from the caller through the outbox to the EHR.

Knows what an acceptable `X-Request-Id` looks like and whose turn it is. It stands beside the trace
(`tracing.py`), and unlike that is always kept: audit entries of one request are found by it.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = "X-Request-Id"
# Printable ASCII without a space. A caller's id ends in logs and in the audit log as it is.
_ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,64}")
_CURRENT: ContextVar[str] = ContextVar("clinical_request_id", default="")


def accepted(given: str | None, otherwise: Callable[[], object]) -> str:
    """The caller's id where it is acceptable; else one made anew."""
    if given is not None and _ACCEPTABLE.fullmatch(given):
        return given
    return str(otherwise())


def current() -> str:
    """The id of the request that is being answered, or that the work at hand goes back to; or empty."""
    return _CURRENT.get()


def headers() -> dict[str, str]:
    """What is sent along to other systems, such as the EHR, so that their logs can be joined with ours."""
    request_id = current()
    return {HEADER: request_id} if request_id else {}


@contextmanager
def going_back_to(request_id: str) -> Iterator[None]:
    """Everything within goes back to this request; threads that are started by the framework inherit it."""
    token = _CURRENT.set(request_id)
    try:
        yield
    finally:
        _CURRENT.reset(token)
