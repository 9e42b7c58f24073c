"""Warnings: stopped models, recalls, another look. Read on every page, and cheap enough for that.

Knows how they are shown. What is stopped, recalled or looked at is the domain's matter.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from fastapi import APIRouter, Request, Response, status

from adapters.http.dependencies import Given
from adapters.http.notice_schemas import Notices, StoppedModel, WarningKind, WarningShape
from adapters.http.schemas import Stale, problems
from adapters.http.sessions import FromOurPage, SignedInClinician, act_of
from clinical.prediction.prediction import Prediction
from clinical.prediction.registry import (
    Concern,
    ModelNotPromotedError,
    ModelStop,
    ModelStoppedError,
    RegisteredModel,
)
from clinical.prediction.staleness import StaleMark, StaleReason
from clinical.review.recall import Recall, RecallKind, Relook
from clinical.review.review import Review, ReviewState
from clinical.services.ports import UnitOfWork

_HELD_UP = (ModelStoppedError.code, ModelNotPromotedError.code)

routes = APIRouter(prefix="/v1", tags=["notices"])


@routes.get("/notices", responses=problems(401, 403))
def notices(_session: SignedInClinician, given: Given) -> Notices:
    """What everybody at the page must know now; asked every few seconds."""
    with given.open_unit_of_work() as uow:
        num_held_up = uow.outbox.held_up(_HELD_UP)
        num_to_look_at = uow.recalls.num_to_look_at()
        stopped = uow.models.of_concern()
        stamp = f"{uow.models.num_steps()}.{uow.recalls.num_all()}.{num_to_look_at}"
    return Notices(
        stamp=stamp,
        stopped=[_stopped(model, model.stop) for model in stopped if model.stop],
        num_predictions_held_up=num_held_up,
        num_to_look_at=num_to_look_at,
    )


@routes.post(
    "/reviews/{review_id}:look-again",
    dependencies=[FromOurPage],
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(401, 403, 404, 409, 422),
)
def look_again(
    review_id: UUID, session: SignedInClinician, request: Request, given: Given
) -> Response:
    """Say that a signed review, some of which was recalled, was looked at again."""
    given.recalls.look_again(review_id, act_of(session, request, given))
    return Response(status_code=status.HTTP_204_NO_CONTENT)


def warnings_of(
    uow: UnitOfWork, reviews: Sequence[Review], predictions: Sequence[Prediction]
) -> Mapping[UUID, list[WarningShape]]:
    """The warnings about each review that has any."""
    digests = {p.request.prediction_id: _digest(p) for p in predictions}
    models = {digest: uow.models.find(digest) for digest in set(digests.values())}
    recalled = {
        digest: uow.recalls.find(RecallKind.MODEL, digest) for digest in set(digests.values())
    }
    stale = uow.retractions.stale(list(digests))
    relooks: defaultdict[UUID, list[Relook]] = defaultdict(list)
    for relook in uow.recalls.relooks([review.review_id for review in reviews]):
        relooks[relook.review_id].append(relook)
    found = {}
    for review in reviews:
        digest, marks = digests[review.prediction_id], relooks[review.review_id]
        asked = (mark.recall for mark in marks if mark.recall.kind is not RecallKind.RETRACTION)
        recalls = [recalled[digest], _withdrawn_by(uow, review), *asked]
        warnings = [
            *_of_model(models[digest]),
            *_of_stale(stale.get(review.prediction_id)),
            *_of_recalls([recall for recall in recalls if recall is not None]),
            *(_of_relook(mark) for mark in marks),
        ]
        if warnings:
            found[review.review_id] = warnings
    return found


def stale_of(warnings: Iterable[WarningShape]) -> Stale | None:
    """Why the item is stale, and since when, if one of its warnings says so."""
    marks = (each for each in warnings if each.kind is WarningKind.STALE)
    return next((Stale(reason=StaleReason(mark.note), since=mark.at) for mark in marks), None)


def _digest(prediction: Prediction) -> str:
    return prediction.forecast.capsule.model.manifest_digest


def _withdrawn_by(uow: UnitOfWork, review: Review) -> Recall | None:
    what, _, recall_id = review.closed_reason.partition(" ")
    if review.state is not ReviewState.WITHDRAWN or what != "recall":
        return None
    return uow.recalls.get(UUID(recall_id))


def _of_model(model: RegisteredModel | None) -> list[WarningShape]:
    if model is None or model.stop is None:
        return []
    stop = model.stop
    return [
        WarningShape(
            kind=WarningKind.MODEL_STOPPED,
            at=stop.at,
            by=stop.by,
            concern=stop.concern,
            note=stop.note,
            recalled=None,
        )
    ]


def _of_stale(mark: StaleMark | None) -> list[WarningShape]:
    if mark is None:
        return []
    return [
        WarningShape(
            kind=WarningKind.STALE,
            at=mark.since,
            by="",
            concern=Concern.DATA,
            note=mark.reason,
            recalled=None,
        )
    ]


def _of_recalls(recalls: Iterable[Recall]) -> list[WarningShape]:
    unique = {recall.recall_id: recall for recall in recalls}
    return [
        WarningShape(
            kind=WarningKind.RECALLED,
            at=recall.at,
            by=recall.by,
            concern=recall.concern,
            note=recall.note,
            recalled=recall.kind,
        )
        for recall in unique.values()
    ]


def _of_relook(relook: Relook) -> WarningShape:
    is_waiting = relook.looked_at is None or relook.looked_by is None
    return WarningShape(
        kind=WarningKind.NEEDS_ANOTHER_LOOK if is_waiting else WarningKind.LOOKED_AGAIN,
        at=relook.looked_at or relook.asked_at,
        by=relook.looked_by or relook.recall.by,
        concern=relook.recall.concern,
        note="",
        recalled=relook.recall.kind,
    )


def _stopped(model: RegisteredModel, stop: ModelStop) -> StoppedModel:
    return StoppedModel(
        name=model.fingerprint.name,
        version=model.fingerprint.version,
        manifest_digest=model.fingerprint.manifest_digest,
        at=stop.at,
        by=stop.by,
        concern=stop.concern,
        note=stop.note,
    )
