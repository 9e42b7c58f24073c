"""An EHR that deletes a record on which a prediction on stage rests."""

from dataclasses import dataclass, replace
from uuid import UUID

from adapters.http.dependencies import WebDependencies
from clinical.audit.entry import Act
from clinical.services.delivery import Delivery, Door, Reading, Withdrawn
from clinical.services.intake import Intake
from clinical.timeline.event import Source


@dataclass
class _Deletes:
    source: Source

    def read(self, delivery: Delivery) -> Reading:
        return Reading(withdrawn=[Withdrawn(source=self.source)])


def take_back(deps: WebDependencies, review_id: UUID) -> None:
    """Deliver the deletion of the newest record that the prediction under this review read."""
    with deps.open_unit_of_work() as uow:
        newest = uow.timelines.of(uow.reviews.get(review_id).patient_id).events[-1].source
    act = Act(actor="worker", at=deps.clock.now())
    delivery = Delivery(
        delivery_id=deps.identities.new(),
        site=newest.site,
        door=Door.FHIR,
        sender_id=f"deletes {review_id}",
        body=b"{}",
        content_type="application/fhir+json",
        received_at=act.at,
    )
    source = replace(newest, digest="f" * 64, delivery_id=delivery.delivery_id, updated_at=act.at)
    intake = Intake(
        open_unit_of_work=deps.open_unit_of_work,
        clock=deps.clock,
        identities=deps.identities,
        readers={Door.FHIR: _Deletes(source)},
    )
    intake.receive(delivery, act, understand_later=False)
    intake.record(delivery.delivery_id, act)
