"""Everything that is said of one site. Each part lives in a file of its own in this room."""

from msgspec import Struct, field

from adapters.sites.cds_hooks import CdsHooks
from adapters.sites.code_map import CodeMapFile
from adapters.sites.hl7v2 import Ccda, Hl7v2
from adapters.sites.nabla import Nabla
from adapters.sites.peers import Fhir
from adapters.sites.pulling import Bulk, Poll
from adapters.sites.secret import Secret
from adapters.sites.subscriptions import Subscription
from adapters.sites.webhooks import Receiver
from adapters.sites.write_back import WriteBackChoices


class Site(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One EHR, or one Nabla organisation, and what we do with it; a part that is not there is off.

    `webhook_secrets` are those of Standard Webhooks, `nabla_connect_secrets` those with which Nabla
    Connect signs: several while they rotate. `code_map` is what the site's own codes mean. `webhooks`
    are those whom we tell, by name.
    """

    fhir: Fhir | None = None
    code_map: CodeMapFile | None = None
    bulk: Bulk = field(default_factory=Bulk)
    poll: Poll | None = None
    webhook_secrets: tuple[Secret, ...] = ()
    nabla_connect_secrets: tuple[Secret, ...] = ()
    hl7v2: Hl7v2 | None = None
    ccda: Ccda | None = None
    nabla: Nabla | None = None
    webhooks: dict[str, Receiver] = {}
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    write_back: WriteBackChoices = field(default_factory=WriteBackChoices)
    cds_hooks: CdsHooks | None = None
