"""One outside system, as it may be called: its own addresses, a time limit, a size limit, a breaker.

Follows no redirect and no link to a host that the site did not register, so that nobody can make us
call somebody else with what we know.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import httpx

from adapters.egress.breaker import CircuitBreaker
from adapters.egress.errors import (
    ForeignAddressError,
    OversizedAnswerError,
    PeerBusyError,
    PeerRefusedError,
    PeerUnavailableError,
    UnreadableAnswerError,
)
from clinical.services.ports import Clock

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""On whose behalf something is asked: sent along as X-Request-Id, so that both sides' logs can be joined."""

_LATER = frozenset({408, 425})
_IN_BETWEEN = frozenset({408, 502, 504})  # somebody before the server speaks: it may have acted
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


class Authorize(Protocol):
    """Who we are, as headers of a request."""

    def headers(self) -> Mapping[str, str]:
        """The headers; may ask for a token first."""
        ...

    def forget(self) -> None:
        """What `headers` gave was refused: do not give it again."""
        ...

    def close(self) -> None:
        """Let go of what is kept open to get a token."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A successful answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises UnreadableAnswerError."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise UnreadableAnswerError("the answer is no JSON") from error

    def document(self) -> dict[str, Any]:
        """The body as a JSON object; raises UnreadableAnswerError."""
        found = self.json()
        if not isinstance(found, dict):
            raise UnreadableAnswerError("the answer is no JSON object")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Where it may be called and what we put up with; `also` are further origins of it."""

    base_url: str
    also: tuple[str, ...] = ()
    allows_plain_http: bool = False
    timeout_seconds: float = 15.0
    max_answer_bytes: int = 64 * 1024 * 1024
    max_pause: timedelta = timedelta(hours=1)


class Peer:
    """Calls one outside system; safe to share between threads."""

    def __init__(
        self,
        bounds: Bounds,
        clock: Clock,
        breaker: CircuitBreaker,
        *,
        authorize: Authorize | None = None,
        transport: httpx.BaseTransport | None = None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """`transport` is for callers with a way to connect of their own; `elapsed` counts seconds.

        Raises:
            ForeignAddressError: an address is not https, and plain HTTP is not allowed.
        """
        self._bounds = bounds
        self._base = bounds.base_url.rstrip("/")
        self._origins = {_origin(each) for each in (bounds.base_url, *bounds.also)}
        if not bounds.allows_plain_http and not all(map(_is_safe, self._origins)):
            raise ForeignAddressError("the address is not https, and the site does not allow that")
        self._clock = clock
        self._breaker = breaker
        self._authorize = authorize
        self._elapsed = elapsed
        self._client = httpx.Client(
            timeout=bounds.timeout_seconds, transport=transport, follow_redirects=False
        )

    def close(self) -> None:
        """Let go of connections that are kept open."""
        self._client.close()
        if self._authorize is not None:
            self._authorize.close()

    @property
    def base_url(self) -> str:
        """Where it is, without a slash at the end."""
        return self._base

    def ask(
        self,
        method: str,
        where: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Answer:
        """One exchange. `where` is a path below the base, or a whole address on a registered host.

        Raises:
            ForeignAddressError, OversizedAnswerError
            PeerRefusedError: 3xx, 4xx but those below, 501.
            PeerUnavailableError: no answer in time, 408, 425, 5xx; PeerBusyError: 429, 503 with a time.
            CircuitOpenError
        """
        with self.streamed(method, where, headers=headers, params=params, content=content) as got:
            return Answer(status=got.status, headers=got.headers, body=b"".join(got.chunks))

    @contextmanager
    def streamed(
        self,
        method: str,
        where: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> "Iterator[Streamed]":
        """The same, with the body piece by piece, within the same limit; raises as `ask` does."""
        url = self.address_of(where)
        self._breaker.require_closed()
        try:
            with self._sent(method, url, headers or {}, params, content) as response:
                self._require_success(response)
                yield Streamed(
                    status=response.status_code,
                    headers=_lowered(response.headers),
                    chunks=self._chunks(response),
                )
        except httpx.HTTPError as error:
            self._breaker.failed()
            raise _unavailable(error) from error
        except PeerBusyError:
            raise  # it is there, and said so
        except PeerUnavailableError:
            self._breaker.failed()
            raise
        except PeerRefusedError:
            self._breaker.succeeded()
            raise
        else:
            self._breaker.succeeded()

    def address_of(self, where: str) -> str:
        """The whole address of a path below the base, or of a link; raises ForeignAddressError."""
        if "://" not in where:
            url = f"{self._base}/{where.lstrip('/')}" if where else self._base
        else:
            url = where
        try:
            is_ours = _origin(url) in self._origins
        except (httpx.InvalidURL, ValueError):
            is_ours = False
        if not is_ours:
            raise ForeignAddressError("the address is on no host that the site registered")
        return url

    @contextmanager
    def _sent(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None,
        content: bytes | None,
    ) -> Iterator[httpx.Response]:
        """The response; where our token was refused, once more with a new one."""
        request_id = REQUEST_ID.get()
        joined = {"X-Request-Id": request_id} if request_id else {}
        for is_last in (self._authorize is None, True):
            proof = self._authorize.headers() if self._authorize is not None else {}
            said = {**headers, **joined, **proof}
            with self._client.stream(
                method, url, headers=said, params=params, content=content
            ) as response:
                if response.status_code != httpx.codes.UNAUTHORIZED or is_last:
                    yield response
                    return
            assert self._authorize is not None
            self._authorize.forget()

    def _require_success(self, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        pause = retry_after(response.headers.get("retry-after", ""), self._clock)
        pause = min(pause, self._bounds.max_pause) if pause is not None else None
        is_busy = status == httpx.codes.TOO_MANY_REQUESTS
        if is_busy or (status == httpx.codes.SERVICE_UNAVAILABLE and pause is not None):
            raise PeerBusyError(f"it answered {status}", retry_after=pause)
        is_failure = response.is_server_error and status != httpx.codes.NOT_IMPLEMENTED
        if status in _LATER or is_failure:
            failed = PeerUnavailableError(f"it answered {status}", retry_after=pause)
            failed.may_have_acted = status in _IN_BETWEEN
            raise failed
        body = b"".join(self._chunks(response))
        raise PeerRefusedError(f"it answered {status}", status, body)

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        """The body, as long as it stays within size and time: a peer may drip for ever."""
        left = self._bounds.max_answer_bytes
        deadline = self._elapsed() + max(60.0, 20 * self._bounds.timeout_seconds)
        for chunk in response.iter_bytes():
            left -= len(chunk)
            if left < 0:
                raise OversizedAnswerError("the answer is larger than the site allows")
            if self._elapsed() > deadline:
                raise PeerUnavailableError("the answer did not end in time")
            yield chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """A successful answer while it arrives."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


def retry_after(text: str, clock: Clock) -> timedelta | None:
    """How long `Retry-After` says (RFC 9110 section 10.2.3), seconds or a date; None where it does not."""
    text = text.strip()
    if text.isdecimal():
        return timedelta(seconds=min(int(text[:12]), 10**9))
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(until - clock.now(), timedelta(0)) if until.tzinfo is not None else None


def _unavailable(error: httpx.HTTPError) -> PeerUnavailableError:
    unavailable = PeerUnavailableError("it could not be reached, or did not answer in time")
    # Nothing was sent where there was no connection yet.
    unavailable.may_have_acted = not isinstance(
        error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout
    )
    return unavailable


def _origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port; a name and password in the address belong to no origin of ours."""
    parsed = httpx.URL(url)
    if parsed.userinfo or not parsed.host:
        raise ValueError("an address with credentials, or without a host")
    default = {"https": 443, "http": 80}.get(parsed.scheme)
    return parsed.scheme, parsed.host, parsed.port or default


def _is_safe(origin: tuple[str, str, int | None]) -> bool:
    scheme, host, _ = origin
    return scheme == "https" or (scheme == "http" and host in _LOCAL)


def _lowered(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
