"""Sign-in of clinicians: a signed, short-lived cookie that scripts cannot read and others cannot send.

Knows tokens and how often a sign-in failed. Does not know passwords beyond passing them on.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import BoundedSemaphore, Lock
from typing import Annotated

import jwt
from fastapi import APIRouter, Depends, Request, Response, status

from adapters.http.dependencies import Given, KnownClinician, WebDependencies
from adapters.http.errors import (
    BadCredentialsError,
    MissingRequestHeaderError,
    NotAllowedError,
    SignedOutError,
    TooManySignInsError,
    address_of,
    request_id_of,
)
from adapters.http.schemas import Credentials, SignedIn, problems
from clinical.audit.entry import Act

COOKIE = "clinical_session"
REQUEST_HEADER = "X-Clinical-Request"
AUDITOR = "auditor"
"""The role of accounts that read the audit log and nothing of patients; every other role reviews."""
_ALGORITHM = "HS256"
_MAX_REMEMBERED = 10_000
_MAX_PASSWORD_CHECKS_AT_ONCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who is signed in, as what, and until when."""

    name: str
    display_name: str
    role: str
    ends_at: datetime


class FailedSignIns:
    """Remembers failures per key for a while; bounded, and forgotten when the process ends."""

    def __init__(self, limit: int, window: timedelta) -> None:
        """At most `limit` failures of one key within `window`."""
        self._limit = limit
        self._window = window
        self._failures: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._lock = Lock()

    def is_over(self, key: str, now: datetime) -> bool:
        """Whether this key has failed too often of late."""
        with self._lock:
            failures = self._failures.get(key, deque())
            while failures and failures[0] <= now - self._window:
                failures.popleft()
            return len(failures) >= self._limit

    def add(self, key: str, now: datetime) -> None:
        """Remember a failure; the key that failed longest ago makes room."""
        with self._lock:
            failures = self._failures.setdefault(key, deque(maxlen=self._limit))
            failures.append(now)
            self._failures.move_to_end(key)
            if len(self._failures) > _MAX_REMEMBERED:
                self._failures.popitem(last=False)


def token_for(clinician: KnownClinician, now: datetime, given: WebDependencies) -> str:
    """A signed statement of who this is, good for the length of a session."""
    claims = {
        "sub": clinician.name,
        "display_name": clinician.display_name,
        "role": clinician.role,
        "iat": int(now.timestamp()),
        "exp": int((now + given.limits.session_length).timestamp()),
        "jti": str(given.identities.new()),
    }
    return jwt.encode(claims, given.session_key, _ALGORITHM)


def session_of(token: str, given: WebDependencies) -> Session:
    """Who a token speaks of; raises SignedOutError where it is forged, malformed or over."""
    now = given.clock.now()
    try:
        claims = jwt.decode(
            token,
            given.session_key,
            algorithms=[_ALGORITHM],
            # The times are compared with our own clock below.
            options={
                "require": ["sub", "exp", "iat", "role"],
                "verify_exp": False,
                "verify_iat": False,
            },
        )
        session = Session(
            name=claims["sub"],
            display_name=str(claims["display_name"]),
            role=str(claims["role"]),
            ends_at=datetime.fromtimestamp(int(claims["exp"]), now.tzinfo),
        )
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise SignedOutError("sign in first") from error
    if now >= session.ends_at or int(claims["iat"]) > now.timestamp() + 1:
        raise SignedOutError("the session has ended")
    return session


async def _signed_in(request: Request, given: Given) -> Session:
    session = session_of(request.cookies.get(COOKIE, ""), given)
    request.scope["clinical_actor"] = session.name  # in case that the rest is refused
    return session


async def _may_review(session: Annotated[Session, Depends(_signed_in)]) -> Session:
    if session.role == AUDITOR:
        raise NotAllowedError("auditors read the audit log, and no patient's review")
    return session


async def _perhaps_signed_in(request: Request, given: Given) -> Session | None:
    try:
        return session_of(request.cookies.get(COOKIE, ""), given)
    except SignedOutError:
        return None


async def _writes_from_our_page(request: Request) -> None:
    # A page of another origin can make a browser send a form, but not with this header.
    if REQUEST_HEADER not in request.headers:
        raise MissingRequestHeaderError(f"send the header {REQUEST_HEADER} with every write")


SignedInAnybody = Annotated[Session, Depends(_signed_in)]
SignedInClinician = Annotated[Session, Depends(_may_review)]
Anybody = Annotated[Session | None, Depends(_perhaps_signed_in)]
FromOurPage = Depends(_writes_from_our_page)


def act_of(session: Session, request: Request, given: WebDependencies) -> Act:
    """What the audit log says of what this clinician does now."""
    return Act(
        actor=session.name,
        at=given.clock.now(),
        request_id=request_id_of(request),
        address=address_of(request),
    )


class SignIns:
    """Checks credentials, a few at a time, and refuses those who failed too often."""

    def __init__(self, given: WebDependencies) -> None:
        """One for each app."""
        limits = given.limits
        self._given = given
        self._by_name = FailedSignIns(limits.failed_sign_ins, limits.failed_sign_in_window)
        self._by_address = FailedSignIns(10 * limits.failed_sign_ins, limits.failed_sign_in_window)
        # A password check costs tens of megabytes by design: a flood of them must queue.
        self._checks = BoundedSemaphore(_MAX_PASSWORD_CHECKS_AT_ONCE)

    def check(self, credentials: Credentials, address: str) -> KnownClinician:
        """The clinician; raises TooManySignInsError, BadCredentialsError."""
        now = self._given.clock.now()
        if self._by_name.is_over(credentials.name, now) or self._by_address.is_over(address, now):
            raise TooManySignInsError("try again in a few minutes")
        with self._checks:
            clinician = self._given.clinicians.verify(credentials.name, credentials.password)
        if clinician is None:
            self._by_name.add(credentials.name, now)
            self._by_address.add(address, now)
            raise BadCredentialsError("name and password do not belong together")
        return clinician


routes = APIRouter(prefix="/v1/session", tags=["session"])


@routes.post(
    "",
    status_code=status.HTTP_201_CREATED,
    dependencies=[FromOurPage],
    responses=problems(401, 403, 422, 429),
)
def sign_in(
    credentials: Credentials, request: Request, response: Response, given: Given
) -> SignedIn:
    """Open a session; its cookie is HttpOnly and SameSite=Strict."""
    sign_ins: SignIns = request.app.state.sign_ins
    clinician = sign_ins.check(credentials, request.client.host if request.client else "")
    token = token_for(clinician, given.clock.now(), given)
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(given.limits.session_length.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    session = session_of(token, given)
    given.access.note_session(act_of(session, request, given))
    return _signed_in_as(session)


@routes.get("")
def whoami(session: Anybody) -> SignedIn | None:
    """Who is signed in; null where nobody is, which is no error to ask."""
    return _signed_in_as(session) if session else None


@routes.delete(
    "",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[FromOurPage],
    responses=problems(403),
)
def sign_out(response: Response) -> None:
    """Forget the session in this browser."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def _signed_in_as(session: Session) -> SignedIn:
    return SignedIn(
        name=session.name,
        display_name=session.display_name,
        role=session.role,
        ends_at=session.ends_at,
    )
