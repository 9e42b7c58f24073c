"""Whether a model may answer here; shared by the services that store answers. Not a journey itself."""

from clinical.audit.entry import Act, AuditKind
from clinical.prediction.prediction import ModelFingerprint
from clinical.prediction.registry import ModelMove, ModelState, ModelStep, RegisteredModel
from clinical.services.ports import Identities, UnitOfWork


def admit(
    uow: UnitOfWork,
    model: ModelFingerprint,
    act: Act,
    identities: Identities,
    *,
    is_first_trusted: bool,
) -> RegisteredModel:
    """The model as the registry knows it now: registered if it was not, installed if it is the first.

    A model is installed where nothing was ever decided about any: whoever set the site up chose it.
    The caller commits. The model is not held: who stores an answer asks again, with `share`.
    """
    held = register(uow, model, act, identities)
    if is_first_trusted and held.state is ModelState.REGISTERED and uow.models.is_undecided():
        held = uow.models.hold(model.manifest_digest)
        if held.state is ModelState.REGISTERED:
            held = held.install()
            note_move(uow, held, ModelMove.INSTALLED, AuditKind.MODEL_INSTALLED, act, identities)
    return held


def register(
    uow: UnitOfWork, model: ModelFingerprint, act: Act, identities: Identities
) -> RegisteredModel:
    """The model as the registry knows it, from now on if it did not."""
    held = uow.models.find(model.manifest_digest)
    if held is not None:
        return held
    if not uow.predictions.ensure_model(model, act.at):
        return uow.models.hold(model.manifest_digest)  # somebody was faster
    held = RegisteredModel(fingerprint=model, registered_at=act.at)
    uow.models.add_step(_step(held, ModelMove.REGISTERED, act))
    uow.audit_log.append(
        act.entry(
            identities.new(),
            AuditKind.MODEL_REGISTERED,
            model=model.manifest_digest,
            name=model.name,
            version=model.version,
        )
    )
    return held


def note_move(
    uow: UnitOfWork,
    model: RegisteredModel,
    move: ModelMove,
    kind: AuditKind,
    act: Act,
    identities: Identities,
) -> None:
    """Store a model that has moved, the line of its history, and the audit entry."""
    uow.models.update(model)
    uow.models.add_step(_step(model, move, act))
    why = {} if model.stop is None else {"why": model.stop.concern}
    uow.audit_log.append(
        act.entry(identities.new(), kind, model=model.fingerprint.manifest_digest, **why)
    )


def _step(model: RegisteredModel, move: ModelMove, act: Act) -> ModelStep:
    stop = model.stop if move is ModelMove.STOPPED else None
    return ModelStep(
        manifest_digest=model.fingerprint.manifest_digest,
        number=model.version,
        move=move,
        by=act.actor,
        at=act.at,
        concern=None if stop is None else stop.concern,
        note="" if stop is None else stop.note,
    )
