"""The review API: worklist, item, timeline, history, and the three moves of a clinician.

Knows ETags, cursors and who is asking. Whether a move is legal is the domain's matter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from adapters.http import schemas
from adapters.http.cursors import seal, unseal
from adapters.http.dependencies import Given, WebDependencies
from adapters.http.errors import PreconditionRequiredError, problem, request_id_of
from adapters.http.items import decision_of, item_of, line_of, status_of
from adapters.http.lanes import lanes_of, since_days
from adapters.http.looks import RecentLooks
from adapters.http.notice_schemas import WarningShape
from adapters.http.notices import warnings_of
from adapters.http.sessions import FromOurPage, Session, SignedInClinician, act_of
from adapters.operations import tracing
from clinical.audit.entry import Act
from clinical.prediction.prediction import Prediction
from clinical.review.decision import Decision
from clinical.review.review import HeldByAnotherError, Review, ReviewState, StaleVersionError
from clinical.services.ports import UnitOfWork, WorklistQuery
from clinical.services.reading_again import as_it_was_read
from clinical.timeline.timeline import Timeline

_OPEN = (ReviewState.QUEUED, ReviewState.CLAIMED)
_MAX_DAYS = 365 * 150
_MOST_LATE = 8  # somebody waits for the page

routes = APIRouter(prefix="/v1/reviews", tags=["reviews"])


async def _expected_version(request: Request) -> int:
    """The version in If-Match; only one strong tag is understood, never `*`."""
    stated = request.headers.get("if-match")
    if stated is None:
        raise PreconditionRequiredError('send If-Match with the ETag that you read, as "v3"')
    match = re.fullmatch(r'"v(\d{1,9})"', stated.strip())
    if match is None:
        raise StaleVersionError("If-Match is not an ETag that this service gave")
    return int(match[1])


ExpectedVersion = Annotated[int, Depends(_expected_version)]
_READ = schemas.problems(401, 403, 404, 422)
_MOVE = schemas.problems(401, 403, 404, 409, 412, 422, 428)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """Somebody who looks at the worklist, and how it is written down."""

    act: Act
    looks: RecentLooks
    given: WebDependencies

    @property
    def name(self) -> str:
        return self.act.actor

    def note(self, query: WorklistQuery, reviews: list[Review]) -> None:
        shown = [review.review_id for review in reviews]
        if not self.looks.is_new((self.name, *shown)):
            return
        asked = {
            "state": ",".join(sorted(query.states)),
            "mine": query.claimed_by is not None,
            "abstained": query.abstained,
            "relook": query.needs_relook,
            "limit": query.limit,
        }
        words = urlencode({name: str(value).lower() for name, value in asked.items() if value})
        self.given.access.note_worklist(self.act, words, shown)


async def _looking(session: SignedInClinician, request: Request, given: Given) -> _Look:
    act = act_of(session, request, given)
    return _Look(act=act, looks=request.app.state.looks, given=given)


Looking = Annotated[_Look, Depends(_looking)]


@routes.get("", responses=schemas.problems(400, 401, 403, 422))
def worklist(
    looking: Looking,
    given: Given,
    state: Annotated[list[ReviewState], Query()] = list(_OPEN),  # noqa: B006 - FastAPI copies it
    mine: Annotated[bool, Query(description="Only what I hold or held last.")] = False,
    abstained: Annotated[bool | None, Query(description="Only where nothing was said.")] = None,
    relook: Annotated[bool, Query(description="Only what needs another look.")] = False,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> schemas.Worklist:
    """Reviews, highest priority first; go on with `cursor` set to `next_cursor`.

    What was seen is audited; the same lines again within five minutes are the same look.
    """
    states = frozenset(state)
    filters = f"{sorted(states)}|{looking.name if mine else ''}|{abstained}|{relook}"
    query = WorklistQuery(
        states=states,
        claimed_by=looking.name if mine else None,
        abstained=abstained,
        needs_relook=relook,
        after=unseal(cursor, filters, given.session_key) if cursor else None,
        limit=limit,
    )
    with given.open_unit_of_work() as uow:
        reviews = uow.reviews.worklist(query)
        total = uow.reviews.count(query)
        predictions = [uow.predictions.get(review.prediction_id) for review in reviews]
        warnings = warnings_of(uow, reviews, predictions)
    looking.note(query, reviews)
    last = reviews[-1] if len(reviews) == limit else None
    return schemas.Worklist(
        reviews=_lines(reviews, predictions, warnings, looking.name, given),
        total=total,
        next_cursor=seal((last.priority, last.review_id), filters, given.session_key)
        if last
        else None,
    )


def _lines(
    reviews: list[Review],
    predictions: list[Prediction],
    warnings: Mapping[UUID, list[WarningShape]],
    asker: str,
    given: WebDependencies,
) -> list[schemas.WorklistLine]:
    facts = given.static_facts([review.patient_id for review in reviews])
    now = given.clock.now()
    return [
        line_of(
            status_of(review, asker, now),
            prediction,
            facts.get(review.patient_id, ()),
            warnings.get(review.review_id, ()),
        )
        for review, prediction in zip(reviews, predictions, strict=True)
    ]


@routes.get("/{review_id}", responses=_READ)
def item(
    review_id: UUID, session: SignedInClinician, request: Request, response: Response, given: Given
) -> schemas.ReviewItem:
    """All that is needed to judge a prediction; that it was read enters the audit log."""
    review, prediction, timeline, decision = _load(review_id, given)
    with given.open_unit_of_work() as uow:
        warnings = warnings_of(uow, [review], [prediction]).get(review_id, ())
        feedback = uow.cards.feedback(prediction.request.prediction_id)
    given.reviews.note_read(review_id, act_of(session, request, given))
    status = status_of(review, session.name, given.clock.now())
    response.headers["ETag"] = etag(review.version)
    return item_of(status, prediction, timeline, decision, warnings, feedback)


@routes.get("/{review_id}/timeline", responses=_READ)
def timeline(
    review_id: UUID,
    session: SignedInClinician,
    request: Request,
    given: Given,
    days: Annotated[int | None, Query(ge=1, le=_MAX_DAYS, description="Look back so far.")] = None,
) -> schemas.TimelineShape:
    """What was known when the prediction was asked for, in lanes; this too is audited."""
    _, prediction, known, _ = _load(review_id, given)
    given.reviews.note_read(review_id, act_of(session, request, given), "timeline")
    as_of = prediction.request.as_of
    return lanes_of(known, as_of, max_marks=given.limits.max_marks, since=since_days(as_of, days))


def _load(
    review_id: UUID, given: WebDependencies
) -> tuple[Review, Prediction, Timeline, Decision | None]:
    with given.open_unit_of_work() as uow:
        review = uow.reviews.get(review_id)
        prediction = uow.predictions.get(review.prediction_id)
        decision = uow.reviews.decision(review_id)
        return review, prediction, _read(uow, prediction), decision


def _read(uow: UnitOfWork, prediction: Prediction) -> Timeline:
    """What the answer rests on; where that is not so any more, what had come by then."""
    asked, digest = prediction.request, prediction.forecast.capsule.input_digest
    read = as_it_was_read(
        uow, asked.patient_id, asked.as_of, asked.received_by, digest, most_late=_MOST_LATE
    )
    if read is not None:
        return read
    everything = uow.timelines.of(asked.patient_id)
    return everything.cut(asked.as_of, received_by=asked.received_by)


@routes.get("/{review_id}/history", responses=_READ)
def history(
    review_id: UUID, session: SignedInClinician, request: Request, given: Given
) -> schemas.History:
    """What the audit log says of this review and its prediction; this too is audited."""
    with given.open_unit_of_work() as uow:
        review = uow.reviews.get(review_id)
        entries = uow.audit_log.history(review=str(review_id))
        entries += uow.audit_log.history(prediction=str(review.prediction_id))
    given.reviews.note_read(review_id, act_of(session, request, given), "history")
    unique = {entry.entry_id: entry for entry in entries}
    return schemas.History(
        entries=[
            schemas.EntryShape(
                entry_id=entry.entry_id,
                at=entry.at,
                kind=entry.kind,
                actor=entry.actor,
                refs=entry.refs,
                request_id=entry.request_id,
            )
            for entry in sorted(unique.values(), key=lambda e: (e.at, e.entry_id))
        ]
    )


@routes.post(
    "/{review_id}:claim",
    dependencies=[FromOurPage],
    responses=_MOVE,
    response_model=schemas.ReviewStatus,
)
def claim(
    review_id: UUID,
    expected: ExpectedVersion,
    session: SignedInClinician,
    request: Request,
    response: Response,
    given: Given,
) -> schemas.ReviewStatus | Response:
    """Take the review for a while; claiming it again extends the lease."""
    act = act_of(session, request, given)
    _join_trace(review_id, given)
    try:
        review = given.reviews.claim(review_id, act, expected_version=expected)
    except HeldByAnotherError as error:
        return _held(review_id, error, request, given)
    return _moved(review, session, response, given)


def _held(
    review_id: UUID, error: HeldByAnotherError, request: Request, given: WebDependencies
) -> Response:
    """The refusal, with who holds it and until when."""
    with given.open_unit_of_work() as uow:
        review = uow.reviews.get(review_id)
    until = review.claimed_until.isoformat() if review.claimed_until else None
    return problem(
        type(error),
        request_id_of(request),
        str(error),
        held_by=review.claimed_by,
        held_until=until,
    )


@routes.post("/{review_id}:release", dependencies=[FromOurPage], responses=_MOVE)
def release(
    review_id: UUID,
    expected: ExpectedVersion,
    session: SignedInClinician,
    request: Request,
    response: Response,
    given: Given,
) -> schemas.ReviewStatus:
    """Put the review back in the queue."""
    act = act_of(session, request, given)
    review = given.reviews.release(review_id, act, expected_version=expected)
    return _moved(review, session, response, given)


@routes.post("/{review_id}:sign", dependencies=[FromOurPage], responses=_MOVE)
def sign(
    review_id: UUID,
    signature: schemas.Signature,
    expected: ExpectedVersion,
    session: SignedInClinician,
    request: Request,
    response: Response,
    given: Given,
) -> schemas.DecisionShape:
    """Close the review with a decision, which cannot be changed afterwards."""
    _join_trace(review_id, given)
    review, decision = given.reviews.sign(
        review_id,
        act_of(session, request, given),
        expected_version=expected,
        verdict=signature.verdict,
        reasons=tuple(dict.fromkeys(signature.reasons)),
        note=signature.note,
    )
    _moved(review, session, response, given)
    return decision_of(decision)


def _join_trace(review_id: UUID, given: WebDependencies) -> None:
    """A review is signed hours after its prediction was made: a trace of its own, joined by a link."""
    if tracing.is_on():
        tracing.link(given.operating.trace_of_review(review_id))


def _moved(
    review: Review, session: Session, response: Response, given: WebDependencies
) -> schemas.ReviewStatus:
    response.headers["ETag"] = etag(review.version)
    return status_of(review, session.name, given.clock.now())


def etag(version: int) -> str:
    """The strong ETag of a version."""
    return f'"v{version}"'
