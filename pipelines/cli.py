"""The command line: joins the command groups into one `clinical`."""

import importlib

import typer

app = typer.Typer(
    name="clinical",
    help="Clinical reasoning integration service: EHR timelines in, reviewed predictions out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# Each module has `register(app)`.
_GROUPS = (
    "processes",
    "demo",
    "importing",
    "meds",
    "pulling",
    "training",
    "icu",
    "audit",
    "backup",
    "benchmarks",
    "clinicians",
    "tokens",
    "health",
    "ledger",
    "quarantine",
    "erasing",
    "replay",
    "models",
    "recalling",
    "subscribing",
    "sites",
    "nabla",
    "webhooks",
)

for _group in _GROUPS:
    importlib.import_module(f"pipelines.commands.{_group}").register(app)
