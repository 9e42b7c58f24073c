"""Which model may answer: registered, promoted by two people, stopped by any one of them.

registered -> promoted (proposed by one person, promoted by another; or installed, as the first
model of a site); any -> stopped, by one person at once; stopped -> promoted again by two people.
A proposal stands beside the state: a stopped model stays stopped while somebody proposes it.
"""

import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from clinical.errors import OperationalError, RejectedError
from clinical.prediction.prediction import ModelFingerprint
from clinical.prediction.request import Purpose


class ModelNotInUseError(OperationalError):
    """The model may not answer until people decide otherwise: what was asked of it waits."""

    code = "model.not_in_use"


class ModelStoppedError(ModelNotInUseError):
    """The model was stopped: nothing that it answers is stored or shown."""

    code = "model.stopped"


class ModelNotPromotedError(ModelNotInUseError):
    """Two people have not promoted the model: it does not answer for review."""

    code = "model.not_promoted"


class SamePersonError(RejectedError):
    """Who proposed a model cannot promote it: that takes a second person."""

    code = "model.same_person"


class NotProposedError(RejectedError):
    """Nobody proposed the model: promoting it takes a proposal by another person."""

    code = "model.not_proposed"


class AlreadyProposedError(RejectedError):
    """The model is proposed already: another person may promote it."""

    code = "model.already_proposed"


class AlreadyPromotedError(RejectedError):
    """The model is promoted already."""

    code = "model.already_promoted"


class Concern(StrEnum):
    """Why a model is stopped or something is recalled, in a word that may enter the audit log."""

    SAFETY = "safety"  # somebody was or may be harmed
    PERFORMANCE = "performance"  # it is worse than it should be
    DATA = "data"  # what it rests on was wrong
    DRIFT = "drift"  # patients or practice have changed
    REPLACED = "replaced"  # another model takes its place
    OTHER = "other"


class ModelState(StrEnum):
    """Where a model stands."""

    REGISTERED = "registered"
    PROMOTED = "promoted"
    STOPPED = "stopped"


class ModelMove(StrEnum):
    """What was done with a model."""

    REGISTERED = "registered"
    INSTALLED = "installed"  # promoted as the first model of the site, by whoever set it up
    PROPOSED = "proposed"
    PROMOTED = "promoted"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStop:
    """That a model is stopped. The note is for people here; it never enters the audit log."""

    at: datetime
    by: str
    concern: Concern
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A model as the registry knows it; `version` rises by one with every move."""

    fingerprint: ModelFingerprint
    registered_at: datetime
    state: ModelState = ModelState.REGISTERED
    version: int = 1
    proposed_by: str | None = None
    stop: ModelStop | None = None

    def require_answers(self, purpose: Purpose) -> None:
        """Return if an answer of this model may be stored for that purpose.

        A model that nobody promoted may be asked of the past: that is how it is judged beforehand.

        Raises:
            ModelStoppedError, ModelNotPromotedError
        """
        if self.state is ModelState.STOPPED:
            raise ModelStoppedError("the model was stopped")
        if self.state is ModelState.REGISTERED and purpose is Purpose.REVIEW:
            raise ModelNotPromotedError("the model waits to be promoted by two people")

    def install(self) -> "RegisteredModel":
        """Promote it as the first model of a site; raises AlreadyPromotedError, ModelStoppedError."""
        self._require_not_promoted()
        if self.state is ModelState.STOPPED:
            raise ModelStoppedError("a stopped model is promoted again by two people")
        return self._promoted()

    def propose(self, who: str) -> "RegisteredModel":
        """Say that it should be promoted; raises AlreadyPromotedError, AlreadyProposedError."""
        self._require_not_promoted()
        if self.proposed_by is not None:
            raise AlreadyProposedError("it is proposed already: another person may promote it")
        return self._next(proposed_by=who)

    def promote(self, who: str) -> "RegisteredModel":
        """Let it answer for review; raises AlreadyPromotedError, NotProposedError, SamePersonError."""
        self._require_not_promoted()
        if self.proposed_by is None:
            raise NotProposedError("nobody proposed this model")
        if is_same_person(self.proposed_by, who):
            raise SamePersonError("promoting a model takes a second person")
        return self._promoted()

    def stopped(self, stop: ModelStop) -> "RegisteredModel":
        """Let it answer no more, whatever its state; a pending proposal falls, the first stop stands."""
        stop = self.stop or stop
        return self._next(state=ModelState.STOPPED, stop=stop, proposed_by=None)

    def _require_not_promoted(self) -> None:
        if self.state is ModelState.PROMOTED:
            raise AlreadyPromotedError("the model is promoted already")

    def _promoted(self) -> "RegisteredModel":
        return self._next(state=ModelState.PROMOTED, proposed_by=None, stop=None)

    def _next(self, **changes: object) -> "RegisteredModel":
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStep:
    """One line of a model's history; `number` is the version of the model that it made."""

    manifest_digest: str
    number: int
    move: ModelMove
    by: str
    at: datetime
    concern: Concern | None = None
    note: str = ""


def is_same_person(one: str, other: str) -> bool:
    """Whether two names are of one person, however they are spaced, cased or encoded."""
    return _folded(one) == _folded(other)


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
