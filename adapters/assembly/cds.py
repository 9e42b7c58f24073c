"""CDS Hooks of every site that has them: whose tokens are taken, and what answers."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from adapters.assembly.sites import circuit_breaker
from adapters.care_plans.reader import read_library
from adapters.clock import TimeOrderedIdentities
from adapters.db.spent_tokens import SpentTokens
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.egress.peer import Bounds, Peer
from adapters.fhir.draft_orders import draft_orders
from adapters.http.cds_site import PREFETCH, CdsDoor, CdsSite
from adapters.http.cds_tokens import KeySet, TokenCheck, TrustedClient
from adapters.settings import Settings
from adapters.sites.cds_hooks import CdsClient, CdsHooks
from adapters.sites.file import MalformedSitesFileError
from adapters.sites.peers import Breaker
from adapters.sites.site import Site
from clinical.errors import ClinicalError
from clinical.services.cards import CardService
from clinical.services.intake import Intake
from clinical.services.planning import PlanningService
from clinical.services.ports import Clock, PlanModel

_MAX_KEY_BYTES = 256 * 1024
_KEY_SECONDS = 3.0


def cds_door(
    settings: Settings, known: Mapping[str, Site], engine: Engine, clock: Clock, models: PlanModel
) -> CdsDoor | None:
    """The door for every site that has clients; None where no site has. `engine` is for it alone."""
    spent = SpentTokens(engine)
    sites = {
        name: _site(settings, site, site.cds_hooks, spent, clock)
        for name, site in known.items()
        if site.cds_hooks is not None
    }
    if not sites:
        return None
    open_unit_of_work, identities = unit_of_work_factory(engine), TimeOrderedIdentities()
    return CdsDoor(
        sites=sites,
        cards=CardService(open_unit_of_work=open_unit_of_work, clock=clock, identities=identities),
        intake=Intake(
            open_unit_of_work=open_unit_of_work, clock=clock, identities=identities, readers={}
        ),
        planning=PlanningService(
            open_unit_of_work=open_unit_of_work,
            clock=clock,
            identities=identities,
            models=models,
            library=read_library(),
            is_first_model_trusted=settings.is_first_model_trusted,
        ),
        read_orders=draft_orders,
    )


def _site(
    settings: Settings, site: Site, stated: CdsHooks, spent: SpentTokens, clock: Clock
) -> CdsSite:
    public_url = stated.public_url or settings.public_url.rstrip("/")
    if not public_url:
        raise MalformedSitesFileError("cds_hooks: say public_url, or set CLINICAL_PUBLIC_URL")
    folder = settings.sites_file.parent if settings.sites_file else Path()
    return CdsSite(
        public_url=public_url,
        check=TokenCheck(
            clients={c.issuer: _client(c, folder, clock) for c in stated.clients},
            clock=clock,
            spend=spent.spend,
            is_required=not stated.allows_unauthenticated,
        ),
        fhir_server=site.fhir.base_url if site.fhir else "",
        prefetch={**stated.prefetch, **PREFETCH},
        warning_from=stated.warning_from,
        critical_from=stated.critical_from,
        shows_silence=stated.shows_silence,
        takes_prefetch=stated.takes_prefetch,
    )


def _client(stated: CdsClient, folder: Path, clock: Clock) -> TrustedClient:
    return TrustedClient(
        issuer=stated.issuer,
        keys=KeySet(_keys_of(stated, folder, clock)),
        jku=stated.jku or stated.jwks_url,
        tenant=stated.tenant,
        subject=stated.subject,
        algorithms=stated.algorithms,
    )


def _keys_of(stated: CdsClient, folder: Path, clock: Clock) -> Callable[[], Mapping[str, Any]]:
    if stated.jwks_file:
        return partial(_from_file, folder / stated.jwks_file)
    bounds = Bounds(
        base_url=stated.jwks_url,
        allows_plain_http=stated.allows_plain_http,
        timeout_seconds=_KEY_SECONDS,
        max_answer_bytes=_MAX_KEY_BYTES,
        max_pause=timedelta(minutes=1),
    )
    peer = Peer(bounds, clock, circuit_breaker(Breaker(), clock))
    return lambda: peer.ask("GET").document()


def _from_file(path: Path) -> Mapping[str, Any]:
    """Read whenever keys are looked for anew, so that a rotation needs no restart."""
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MalformedSitesFileError(f"{path.name}: no JWK set can be read from it") from error
    return stated if isinstance(stated, dict) else {}


def findings(site: Site, folder: Path, clock: Clock) -> Iterator[tuple[bool, str]]:
    """Of every client whether its keys can be read now, in words."""
    assert site.cds_hooks is not None
    for client in site.cds_hooks.clients:
        try:
            stated = _keys_of(client, folder, clock)().get("keys")
        except ClinicalError as error:
            yield False, f"{client.issuer}: {error}"
            continue
        num_keys = len(stated) if isinstance(stated, list) else 0
        yield bool(num_keys), f"{client.issuer}: {num_keys} public key(s) can be read"
    if site.cds_hooks.allows_unauthenticated:
        yield False, "anybody may call: `allows_unauthenticated` is on"
