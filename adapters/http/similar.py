"""The API of similar patients: numbers about a group, never a patient of it.

Knows how the group is shown, and that reading it is audited. What may be told is the domain's matter.
"""

from uuid import UUID

from fastapi import APIRouter, Request

from adapters.http import similar_schemas as shapes
from adapters.http.dependencies import Given
from adapters.http.items import window_of
from adapters.http.schemas import problems
from adapters.http.sessions import SignedInClinician, act_of
from clinical.prediction.similar import SMALLEST_CELL, SMALLEST_GROUP, OutcomeShare, SimilarPatients

_WORDING = (
    "What happened among similar patients on record; not a forecast, nor what any treatment did."
)

routes = APIRouter(prefix="/v1/reviews", tags=["reviews"])


@routes.get("/{review_id}/similar", responses=problems(401, 403, 404, 422))
def similar(
    review_id: UUID, session: SignedInClinician, request: Request, given: Given
) -> shapes.SimilarShape:
    """What became of the patients most like this one; that it was read is audited."""
    found = given.similar.of_review(review_id)
    given.reviews.note_read(review_id, act_of(session, request, given), "similar")
    return _shape(found)


def _shape(found: SimilarPatients) -> shapes.SimilarShape:
    return shapes.SimilarShape(
        wording=_WORDING,
        untold=found.untold,
        smallest_group=SMALLEST_GROUP,
        smallest_cell=SMALLEST_CELL,
        num_patients=found.num_patients,
        median_distance=found.median_distance,
        typical_distance=found.typical_distance,
        ages=[shapes.AgeBandShape(label=band.label, count=band.count) for band in found.ages],
        outcomes=[_outcome(share) for share in found.outcomes],
    )


def _outcome(share: OutcomeShare) -> shapes.OutcomeShape:
    return shapes.OutcomeShape(
        name=share.risk,
        horizon=window_of(share.horizon),
        num_followed=share.num_followed,
        share=share.share,
        low=share.low,
        high=share.high,
        untold=share.untold,
    )
