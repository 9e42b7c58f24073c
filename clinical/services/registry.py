"""The model registry: register, propose, promote (two people), stop; each step stored and audited."""

from dataclasses import dataclass

from clinical.audit.entry import Act, AuditKind
from clinical.errors import NotFoundError, RejectedError
from clinical.prediction.prediction import ModelFingerprint
from clinical.prediction.registry import (
    Concern,
    ModelMove,
    ModelStep,
    ModelStop,
    RegisteredModel,
)
from clinical.services.admission import note_move, register
from clinical.services.ports import Clock, Identities, OpenUnitOfWork, UnitOfWork


class AmbiguousModelError(RejectedError):
    """Several models are called so, or have a digest that begins so."""

    code = "model.ambiguous"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryService:
    """Moves models. A model is named by its digest, by the beginning of it, or by its name."""

    open_unit_of_work: OpenUnitOfWork
    clock: Clock
    identities: Identities

    def all(self) -> list[RegisteredModel]:
        """The newest first."""
        with self.open_unit_of_work() as uow:
            return uow.models.all()

    def show(self, named: str) -> tuple[RegisteredModel, list[ModelStep]]:
        """A model and its history, oldest first; raises NotFoundError, AmbiguousModelError."""
        with self.open_unit_of_work() as uow:
            model = _named(uow, named)
            return model, uow.models.history(model.fingerprint.manifest_digest)

    def register(self, model: ModelFingerprint, by: str) -> RegisteredModel:
        """Let it be known; nothing more may be done with it yet."""
        with self.open_unit_of_work() as uow:
            held = register(uow, model, self._act(by), self.identities)
            uow.commit()
        return held

    def propose(self, named: str, by: str) -> RegisteredModel:
        """Propose that it be promoted.

        Raises:
            NotFoundError, AmbiguousModelError, AlreadyPromotedError, AlreadyProposedError
        """
        with self.open_unit_of_work() as uow:
            model = self._held(uow, named).propose(by)
            self._note(uow, model, ModelMove.PROPOSED, AuditKind.MODEL_PROPOSED, self._act(by))
            uow.commit()
        return model

    def promote(self, named: str, by: str) -> RegisteredModel:
        """Promote what another person proposed.

        Raises:
            NotFoundError, AmbiguousModelError
            AlreadyPromotedError, NotProposedError, SamePersonError
        """
        with self.open_unit_of_work() as uow:
            model = self._held(uow, named).promote(by)
            self._note(uow, model, ModelMove.PROMOTED, AuditKind.MODEL_PROMOTED, self._act(by))
            uow.commit()
        return model

    def stop(self, named: str, by: str, concern: Concern, note: str = "") -> RegisteredModel:
        """Stop it: once this returns, no process stores an answer of it.

        Answers being stored at this moment are waited for. Stopping it again changes nothing but a
        pending proposal, which falls.

        Raises:
            NotFoundError, AmbiguousModelError
        """
        with self.open_unit_of_work() as uow:
            before = self._held(uow, named)
            if before.stop is not None and before.proposed_by is None:
                return before
            act = self._act(by)
            model = before.stopped(ModelStop(at=act.at, by=by, concern=concern, note=note))
            self._note(uow, model, ModelMove.STOPPED, AuditKind.MODEL_STOPPED, act)
            uow.commit()
        return model

    def _held(self, uow: UnitOfWork, named: str) -> RegisteredModel:
        """The model, held against everybody else until the transaction ends."""
        return uow.models.hold(_named(uow, named).fingerprint.manifest_digest)

    def _note(
        self, uow: UnitOfWork, model: RegisteredModel, move: ModelMove, kind: AuditKind, act: Act
    ) -> None:
        note_move(uow, model, move, kind, act, self.identities)

    def _act(self, by: str) -> Act:
        return Act(actor=by, at=self.clock.now())


def _named(uow: UnitOfWork, named: str) -> RegisteredModel:
    exact = uow.models.find(named)
    if exact is not None:
        return exact
    found = uow.models.named(named)
    if not found:
        raise NotFoundError("no model is called so, and no digest begins so")
    if len(found) > 1:
        raise AmbiguousModelError(f"{len(found)} models are called so: give more of the digest")
    return found[0]
