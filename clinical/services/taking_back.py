"""What the EHR was told and is to be taken back, because what it rested on was recalled or withdrawn.

Shared by the services that ask for another look; not a journey itself. The caller commits. Whether a
site wants it is asked when the EHR is to be told.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from clinical.services.messages import Message, MessageKind, Urgency, key_of
from clinical.services.ports import Identities, UnitOfWork


def owe_take_backs(
    uow: UnitOfWork, review_ids: Collection[UUID], at: datetime, identities: Identities
) -> None:
    """Owe it for those of the reviews of which the EHR was told."""
    for review_id in sorted(uow.reviews.written_back(review_ids) if review_ids else ()):
        uow.outbox.add(
            Message(
                message_id=identities.new(),
                kind=MessageKind.TAKE_BACK,
                subject_id=review_id,
                created_at=at,
                coalesce_key=key_of(MessageKind.TAKE_BACK, review_id),
                urgency=Urgency.LIVE,
            )
        )
