"""Keys that nobody configured: made once, kept in the data folder, readable by its owner alone.

Knows where they lie. Does not know what they sign.
"""

import base64
import secrets
from pathlib import Path
from urllib.parse import quote

from adapters.notary import Ed25519Notary, is_signature
from adapters.settings import Settings
from clinical.audit.checkpoint import NoteKey, SignatureKind
from clinical.services.ledger import LedgerService
from clinical.services.ports import Clock, OpenUnitOfWork

_NUM_BYTES = 32


def session_key(settings: Settings) -> bytes:
    """The key in the settings, or the one made for this data folder."""
    if settings.session_key is not None:
        return settings.session_key.get_secret_value().encode()
    return _kept(settings.data_dir, "session_key").encode()


def notary(settings: Settings) -> Ed25519Notary:
    """Who signs the audit log's checkpoints: by the key in the settings, or one made and kept."""
    configured = settings.ledger_key
    stated = configured.get_secret_value() if configured else _kept(settings.data_dir, "ledger_key")
    secret = base64.b64decode(stated)
    return Ed25519Notary.of(settings.ledger_origin, SignatureKind.LOG, secret)


def ledger(settings: Settings, open_unit_of_work: OpenUnitOfWork, clock: Clock) -> LedgerService:
    """The audit log as it is published."""
    return LedgerService(
        open_unit_of_work=open_unit_of_work,
        clock=clock,
        notary=notary(settings),
        check=is_signature,
        witnesses=tuple(NoteKey.from_text(text) for text in settings.ledger_witnesses),
    )


def webhook_secret(settings: Settings, site: str) -> str:
    """The first Standard Webhooks secret of a site: the configured one, or one made and kept."""
    configured = settings.webhook_secrets.get(site)
    if configured:
        return configured[0].get_secret_value()
    return f"whsec_{_kept(settings.data_dir, f'webhook_{quote(site, safe=str())}')}"


def data_set_key(settings: Settings) -> str:
    """What the numbers of subjects in data sets are made with, in base64: made once and kept.

    Where it is lost or replaced, later data sets have other numbers for the same patients.
    """
    return _kept(settings.data_dir, "data_set_key")


def _kept(data_dir: Path, name: str) -> str:
    folder = data_dir / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / name
    if not path.exists():
        made = folder / f"{name}.{secrets.token_hex(8)}"
        made.touch(mode=0o600)
        made.write_text(base64.b64encode(secrets.token_bytes(_NUM_BYTES)).decode())
        try:
            path.hardlink_to(made)  # fails where another process was faster, whose key then stands
        except FileExistsError:
            pass
        finally:
            made.unlink()
    return path.read_text()
