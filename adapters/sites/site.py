"""Everything that is said of one site. Each part lives in a file of its own in this room."""

from msgspec import Struct, field

from adapters.sites.peers import Fhir
from adapters.sites.secret import Secret
from adapters.sites.subscriptions import Subscription
from adapters.sites.write_back import WriteBackChoices


class Site(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One EHR, or one Nabla organisation, and what we do with it; a part that is not there is off.

    `webhook_secrets` are those of Standard Webhooks, `nabla_connect_secrets` those with which Nabla
    Connect signs: several while they rotate.
    """

    fhir: Fhir | None = None
    webhook_secrets: tuple[Secret, ...] = ()
    nabla_connect_secrets: tuple[Secret, ...] = ()
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    write_back: WriteBackChoices = field(default_factory=WriteBackChoices)
