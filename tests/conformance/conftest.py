"""The web face on a real server over a real database, with decided predictions and who may read them."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.clock import TimeOrderedIdentities
from adapters.db.clinicians import Clinicians
from adapters.db.tokens import AccessTokens
from clinical.audit.entry import Act
from clinical.review.decision import Reason, Verdict
from tests.adapters.http.conftest import Stage, stage  # noqa: F401

PASSWORD = "correct horse battery staple"


@dataclass
class Exposed:
    """A stage with accounts, tokens, and decided reviews."""

    stage: Stage
    clinician: str
    auditor: str

    @property
    def base(self) -> str:
        return f"{str(self.stage.client.base_url).rstrip('/')}/fhir"

    def get(self, path: str, token: str, **headers: str):
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        return self.stage.client.get(f"{self.base}/{path}", headers=bearer | headers)

    def decide(self, record_id: str, verdict: Verdict = Verdict.AGREE) -> UUID:
        """A patient whose prediction a clinician decided on; the id of the prediction."""
        review_id = self.stage.add_patient(record_id)
        reviews = self.stage.deps.reviews
        act = Act(actor="anna", at=self.stage.clock.now(), request_id="signing-1")
        claimed = reviews.claim(review_id, act, expected_version=1)
        review, _ = reviews.sign(
            review_id,
            act,
            expected_version=claimed.version,
            verdict=verdict,
            reasons=(Reason.ACKNOWLEDGED,),
        )
        self.stage.clock.advance(timedelta(seconds=1))
        return review.prediction_id


@pytest.fixture
def exposed(stage: Stage) -> Exposed:  # noqa: F811
    accounts = Clinicians(stage.engine)
    tokens = AccessTokens(stage.engine, TimeOrderedIdentities())
    found = []
    for name, role in (("anna", "clinician"), ("olga", "auditor")):
        accounts.add(name, name.title(), PASSWORD, role)
        act = Act(actor="admin", at=stage.clock.now())
        found.append(tokens.issue(name, act, timedelta(days=30))[1])
    return Exposed(stage=stage, clinician=found[0], auditor=found[1])
