"""What a site may choose, read from the environment (`CLINICAL_…`) or a `.env` file.

Only the composition roots read this; everybody else receives values.
"""

import os
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each field is the environment variable `CLINICAL_<NAME>`; nested values are JSON."""

    model_config = SettingsConfigDict(
        env_prefix="CLINICAL_", env_file=".env", extra="ignore", protected_namespaces=()
    )

    data_dir: Path = Path("var")
    """Embedded database, broker folder, generated keys, logs."""
    database_url: SecretStr | None = None
    """A PostgreSQL URL (`postgresql+psycopg://…`); none: the embedded one in `data_dir`."""
    broker_url: SecretStr | None = None
    """An AMQP URL; none: Celery's filesystem transport in `data_dir`."""

    web_host: str = "127.0.0.1"
    web_port: int = 8321
    public_url: str = ""
    """Where others reach the web process, such as `https://clinical.example`."""
    session_key: SecretStr | None = None
    """Signs session cookies; none: generated once in `data_dir`."""
    sites_file: Path | None = None
    """A TOML file with everything about the sites that this service is joined with."""
    webhook_secrets: dict[str, list[SecretStr]] = {}
    """Site name to its Standard Webhooks secrets (`whsec_…`), several while rotating."""
    nabla_connect_secrets: dict[str, list[SecretStr]] = {}
    """Site name to the secrets with which Nabla Connect signs."""
    max_webhook_bytes: int = 10 * 1024 * 1024
    max_webhooks_at_once: int = 24
    """Those beyond are refused (503) before they are read; the page is not concerned."""

    max_backlog: int = 20_000
    """With so much live work owed, new webhooks are refused; other work is shed before."""
    max_lateness_seconds: float = 300.0
    """Likewise, where the oldest live work waits so long to be begun."""
    min_free_disk_mib: int = 256
    """Likewise, where the disk of the embedded database has so little room left."""

    worker_concurrency: int = 1
    worker_stop_seconds: float = 15.0
    """A worker told to stop gives back at once what is not done by then."""
    worker_metrics_host: str = "127.0.0.1"
    worker_metrics_port: int = 0
    """Where the worker serves metrics and health; 0: nowhere."""
    merge_delay_limit_seconds: float = 300.0
    """An audit entry that waits longer for its leaf raises an alarm; longer than any piece of work takes."""
    traces_endpoint: str | None = None
    """Where traces go (OTLP over HTTP, such as `http://host:4318/v1/traces`); none: none are kept."""
    lease_seconds: float = 120.0
    """How long a message may be worked on before another worker may take it."""

    ledger_origin: str = "clinical.invalid/ledger"
    """The name of the audit log and of its key: one that no other log has, without spaces and plus signs."""
    ledger_key: SecretStr | None = None
    """32 bytes in base64 that sign the log's checkpoints; none: made once in `data_dir`."""
    ledger_witnesses: list[str] = []
    """Keys of the witnesses whose cosignatures are kept (c2sp.org/signed-note, "Verifier keys")."""

    is_first_model_trusted: bool = True
    """Whether a site's first model answers for review at once; any other is promoted by two people."""
    model_checkpoint: Path | None = None
    """Folder with manifest and weights; none: the shipped checkpoint."""
    model_host: str = "127.0.0.1"
    model_port: int = 8322
    model_device: str = "cpu"
    """`cpu`, or `cuda` where torch finds a GPU."""
    model_threads: int = 1
    """CPU threads of the forward pass."""
    model_max_batch: int = 32
    model_max_batch_wait_ms: int = 10
    model_timeout_ms: int = 30_000
    """A request that waited longer than this is refused, and retried by the worker."""
    model_queue_capacity: int = 256


def environment(**changes: str) -> dict[str, str]:
    """The environment of this process with these settings changed, for a child that reads them."""
    inherited = dict(os.environ)  # noqa: TID251 - the one place that may
    return inherited | {f"CLINICAL_{name.upper()}": value for name, value in changes.items()}
