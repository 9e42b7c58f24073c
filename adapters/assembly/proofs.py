"""How the notifications of each subscription of the sites file are proven, for the web process."""

from collections.abc import Mapping

from sqlalchemy import Engine

from adapters.assembly.subscribing import all_of, plan_of
from adapters.db.hub_secrets import SqlHubSecrets
from adapters.http.dependencies import VerifyNotification
from adapters.http.proofs import (
    BodySignatureCheck,
    HeaderCheck,
    HubCheck,
    StandardWebhooksCheck,
)
from adapters.sites.secret import Secret
from adapters.sites.site import Site
from adapters.sites.subscriptions import (
    BodySignature,
    HubSignature,
    StaticHeader,
    Subscription,
)
from clinical.services.ports import Clock
from clinical.subscription.plan import SubscriptionPlan


def verifiers(
    known: Mapping[str, Site], engine: Engine, clock: Clock
) -> Mapping[tuple[str, str], VerifyNotification]:
    """How each subscription proves that a notification is its own."""
    learned = SqlHubSecrets(engine)
    return {
        (site_name, name): _verifier(plan_of(site_name, name, stated), stated, learned, clock)
        for site_name, name, stated in all_of(known)
    }


def _verifier(
    plan: SubscriptionPlan, stated: Subscription, learned: SqlHubSecrets, clock: Clock
) -> VerifyNotification:
    proof = stated.proof
    if isinstance(proof, StaticHeader):
        return HeaderCheck(proof.name, _values(proof.values))
    if isinstance(proof, BodySignature):
        return BodySignatureCheck(proof.header, _values(proof.secrets))
    if isinstance(proof, HubSignature):
        token = proof.handshake_token.value if proof.handshake_token is not None else ""
        return HubCheck(plan.subscription_id, _values(proof.secrets), token, learned, clock)
    return StandardWebhooksCheck(_values(proof.secrets))


def _values(secrets: tuple[Secret, ...]) -> list[str]:
    return [each.value for each in secrets]
