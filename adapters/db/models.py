"""The model registry: where each model stands, and every step that led there.

Knows the tables `model_versions` and `model_history`; the legal moves are the domain's.
"""

from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from adapters.db.tables import model_history, model_versions, predictions, reviews
from clinical.errors import NotFoundError
from clinical.prediction.prediction import ModelFingerprint
from clinical.prediction.registry import (
    Concern,
    ModelMove,
    ModelState,
    ModelStep,
    ModelStop,
    RegisteredModel,
)

_FIRST = text("SELECT pg_advisory_xact_lock(hashtextextended('the first model of a site', 0))")
_NEWEST_FIRST = (model_versions.c.registered_at.desc(), model_versions.c.manifest_digest)


class SqlModels:
    """Implements the port `Models` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Everything happens in the transaction of `connection`."""
        self._connection = connection

    def find(self, manifest_digest: str) -> RegisteredModel | None:
        """The model, if it is known."""
        found = self._read(_of(manifest_digest))
        return found[0] if found else None

    def share(self, manifest_digest: str) -> RegisteredModel | None:
        """The model, if it is known, as it stands until this transaction ends."""
        found = self._read(_of(manifest_digest).with_for_update(read=True))
        return found[0] if found else None

    def hold(self, manifest_digest: str) -> RegisteredModel:
        """The model, for who is about to move it; waits for those who share it.

        Rows that only refer to the model are still written meanwhile. Raises NotFoundError.
        """
        found = self._read(_of(manifest_digest).with_for_update(key_share=True))
        if not found:
            raise NotFoundError("no such model")
        return found[0]

    def named(self, named: str) -> list[RegisteredModel]:
        """Those with this name, or with a digest that begins so."""
        begins = model_versions.c.manifest_digest.startswith(named, autoescape=True)
        is_called = model_versions.c.name == named
        return self._read(
            select(model_versions).where(or_(is_called, begins)).order_by(*_NEWEST_FIRST)
        )

    def all(self) -> list[RegisteredModel]:
        """The newest first."""
        return self._read(select(model_versions).order_by(*_NEWEST_FIRST))

    def update(self, model: RegisteredModel) -> None:
        """Store the next version of a model that is held."""
        stop = model.stop
        changed = self._connection.execute(
            update(model_versions)
            .where(
                model_versions.c.manifest_digest == model.fingerprint.manifest_digest,
                model_versions.c.num_steps == model.version - 1,
            )
            .values(
                state=model.state.value,
                num_steps=model.version,
                proposed_by=model.proposed_by,
                stopped_at=None if stop is None else stop.at,
                stopped_by=None if stop is None else stop.by,
                stop_concern=None if stop is None else stop.concern.value,
                stop_note=None if stop is None else stop.note,
            )
        )
        assert changed.rowcount == 1, "a model is moved by who holds it"

    def add_step(self, step: ModelStep) -> None:
        """Write a line of the history; none is ever changed."""
        concern = None if step.concern is None else step.concern.value
        row = {
            "manifest_digest": step.manifest_digest,
            "number": step.number,
            "move": step.move.value,
            "by": step.by,
            "at": step.at,
            "concern": concern,
            "note": step.note,
        }
        self._connection.execute(insert(model_history).values(row))

    def history(self, manifest_digest: str) -> list[ModelStep]:
        """Oldest first."""
        query = select(model_history).where(model_history.c.manifest_digest == manifest_digest)
        rows = self._connection.execute(query.order_by(model_history.c.number)).mappings()
        return [_step(row) for row in rows]

    def is_undecided(self) -> bool:
        """Whether nothing was ever decided about any model; until the transaction ends nobody else asks."""
        self._connection.execute(_FIRST)
        decided = model_history.c.move != ModelMove.REGISTERED.value
        return not self._connection.scalar(select(exists().where(decided)))

    def of_concern(self) -> list[RegisteredModel]:
        """Stopped models that open reviews rest on; all stopped ones where no model is promoted."""
        rested_on = (
            select(predictions.c.prediction_id)
            .join(reviews, reviews.c.prediction_id == predictions.c.prediction_id)
            .where(
                # As the index of the open ones says it, so that it is recognised.
                text("reviews.state IN ('queued', 'claimed')"),
                predictions.c.manifest_digest == model_versions.c.manifest_digest,
            )
            .correlate(model_versions)
        )
        other = model_versions.alias()
        promoted = select(other).where(other.c.state == ModelState.PROMOTED.value)
        return self._read(
            select(model_versions)
            .where(
                model_versions.c.state == ModelState.STOPPED.value,
                or_(rested_on.exists(), ~promoted.exists()),
            )
            .order_by(*_NEWEST_FIRST)
        )

    def num_steps(self) -> int:
        """How many steps all histories have together."""
        return int(self._connection.scalar(select(func.count()).select_from(model_history)) or 0)

    def _read(self, query: Select[Any]) -> list[RegisteredModel]:
        return [_model(row) for row in self._connection.execute(query).mappings()]


def _of(manifest_digest: str) -> Select[Any]:
    return select(model_versions).where(model_versions.c.manifest_digest == manifest_digest)


def _model(row: RowMapping) -> RegisteredModel:
    is_stopped = row["stopped_at"] is not None
    return RegisteredModel(
        fingerprint=ModelFingerprint(
            name=row["name"],
            version=row["version"],
            manifest_digest=row["manifest_digest"],
            vocabulary_digest=row["vocabulary_digest"],
        ),
        registered_at=row["registered_at"],
        state=ModelState(row["state"]),
        version=row["num_steps"],
        proposed_by=row["proposed_by"],
        stop=ModelStop(
            at=row["stopped_at"],
            by=row["stopped_by"],
            concern=Concern(row["stop_concern"]),
            note=row["stop_note"],
        )
        if is_stopped
        else None,
    )


def _step(row: RowMapping) -> ModelStep:
    concern = row["concern"]
    return ModelStep(
        **{
            **row,
            "move": ModelMove(row["move"]),
            "concern": None if concern is None else Concern(concern),
        }
    )
