"""What programs outside may read: audit entries, and decided predictions. Each reading is audited with it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clinical.audit.entry import Act, AuditKind
from clinical.errors import NotFoundError
from clinical.prediction.prediction import ModelFingerprint
from clinical.review.writeback import WriteBack
from clinical.services.ports import (
    AuditedAct,
    AuditQuery,
    Identities,
    OpenUnitOfWork,
    ToldQuery,
    UnitOfWork,
)
from clinical.timeline.patient import PatientRef


@dataclass(frozen=True, slots=True, kw_only=True)
class DisclosureService:
    """Reads, and the entry that says so in the same transaction."""

    open_unit_of_work: OpenUnitOfWork
    identities: Identities

    def audited(self, entry_id: UUID, act: Act) -> AuditedAct:
        """One audit entry; raises NotFoundError."""
        with self.open_unit_of_work() as uow:
            found = uow.disclosures.audited(AuditQuery(entry_id=entry_id, limit=1))
            if not found:
                raise NotFoundError("nothing has this identity")
            self._note_read(uow, act, "AuditEvent", entry=entry_id)
        return found[0]

    def search_audited(self, query: AuditQuery, act: Act, asked: str) -> list[AuditedAct]:
        """Audit entries; `asked` says in words of ours how was searched, without patient data."""
        with self.open_unit_of_work() as uow:
            found = uow.disclosures.audited(query)
            self._note_search(uow, act, "AuditEvent", asked, [])
        return found

    @contextmanager
    def export_audited(
        self, since: datetime | None, until: datetime | None, act: Act
    ) -> Iterator[Iterator[AuditedAct]]:
        """All entries of a time, oldest first; that they are exported is noted first."""
        asked = f"since={since or ''}&until={until or ''}"
        with self.open_unit_of_work() as uow:
            uow.audit_log.append(
                act.entry(self.identities.new(), AuditKind.LEDGER_EXPORTED, query=asked)
            )
            uow.commit()
        with self.open_unit_of_work() as uow:
            yield uow.disclosures.all_audited(since, until)

    def told(self, prediction_id: UUID, act: Act, resource: str) -> WriteBack:
        """What was decided of a prediction; raises NotFoundError where it may not be told."""
        query = ToldQuery(prediction_id=prediction_id, limit=1)
        with self.open_unit_of_work() as uow:
            found = uow.disclosures.told(query)
            if not found:
                raise NotFoundError("nothing has this identity")
            self._note_read(uow, act, resource, prediction=prediction_id)
        return self._write_backs(found)[0]

    def search_told(
        self, query: ToldQuery, act: Act, resource: str, asked: str
    ) -> list[tuple[UUID, WriteBack]]:
        """Decided predictions with the reviews that decided them."""
        with self.open_unit_of_work() as uow:
            found = uow.disclosures.told(query)
            shown = [uow.reviews.get(review_id).prediction_id for review_id in found]
            self._note_search(uow, act, resource, asked, shown)
        return list(zip(found, self._write_backs(found), strict=True))

    def patient(self, patient_id: UUID, act: Act) -> PatientRef:
        """Whom one of our pseudonyms stands for; raises NotFoundError."""
        with self.open_unit_of_work() as uow:
            found = uow.disclosures.patient(patient_id)
            # The pseudonym is patient data: that some patient was looked up is all that is said.
            self._note_read(uow, act, "Patient")
        return found

    def models(self, act: Act) -> Sequence[ModelFingerprint]:
        """Every model that is known."""
        with self.open_unit_of_work() as uow:
            found = uow.disclosures.models()
            self._note_search(uow, act, "Device", "", [])
        return found

    def _write_backs(self, review_ids: Sequence[UUID]) -> list[WriteBack]:
        with self.open_unit_of_work() as uow:
            return [_write_back(uow, review_id) for review_id in review_ids]

    def _note_read(self, uow: UnitOfWork, act: Act, resource: str, **refs: object) -> None:
        kind = AuditKind.RESOURCE_READ
        uow.audit_log.append(act.entry(self.identities.new(), kind, resource=resource, **refs))
        uow.commit()

    def _note_search(
        self, uow: UnitOfWork, act: Act, resource: str, asked: str, found: Sequence[object]
    ) -> None:
        uow.audit_log.append(
            act.entry(
                self.identities.new(),
                AuditKind.RESOURCES_SEARCHED,
                resource=resource,
                query=asked,
                found=" ".join(str(each) for each in found),
            )
        )
        uow.commit()


def _write_back(uow: UnitOfWork, review_id: UUID) -> WriteBack:
    """As it is told to an EHR, but of our pseudonym, and without the EHR's records that it rests on."""
    review = uow.reviews.get(review_id)
    decision = uow.reviews.decision(review_id)
    assert decision is not None
    return WriteBack(
        site=uow.timelines.patient(review.patient_id).site,
        patient_reference=f"Patient/{review.patient_id}",
        prediction=uow.predictions.get(review.prediction_id),
        decision=decision,
    )
