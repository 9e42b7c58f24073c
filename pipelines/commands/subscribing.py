"""`clinical subscribe`: subscriptions at EHRs, made, renewed, removed and watched. Shows no patient data."""

import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.ending import told_in_words

if TYPE_CHECKING:
    from rich.table import Table

    from clinical.services.subscribing import SubscribingService
    from clinical.subscription.state import SubscriptionState

_DATA_DIR = typer.Option(help="Folder of the embedded database; else by CLINICAL_DATA_DIR.")
_SITE = typer.Argument(help="As the sites file calls it.")
_NAME = typer.Argument(help="The subscription, as the sites file calls it.")
_NAME_OR_ALL = typer.Argument(help="The subscription; else every one of the site.")
_BY = typer.Option(help="Who you are: it enters the audit log.")
_OPERATOR = "operator"
_WIDE = 200


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="Subscriptions at EHRs.", no_args_is_help=True)
    group.command("list")(list_all)
    for command in (create, status, renew, remove, watch):
        group.command()(command)
    app.add_typer(group, name="subscribe")


def list_all(data_dir: Annotated[Path | None, _DATA_DIR] = None) -> None:
    """Every subscription of the sites file, and where it stands."""
    from rich.console import Console  # noqa: PLC0415

    from adapters.assembly.subscribing import subscribing  # noqa: PLC0415

    with told_in_words(), subscribing(data_dir) as (service, stated):
        # Whatever reads a pipe needs whole ids, not what fits into eighty columns.
        width = None if sys.stdout.isatty() else _WIDE
        Console(width=width).print(_table(service, stated))


def create(
    site: Annotated[str, _SITE],
    name: Annotated[str | None, _NAME_OR_ALL] = None,
    by: Annotated[str, _BY] = _OPERATOR,
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Subscribe at the EHR; where it has the subscription already, bring that up to date."""
    from adapters.assembly.subscribing import subscribing  # noqa: PLC0415

    with told_in_words(), subscribing(data_dir) as (service, stated):
        for each in _names(stated, site, name):
            made = service.create(site, each, by)
            how = "was there and is up to date" if made.was_there else "is made"
            typer.echo(
                f"{site} {each}: Subscription/{made.ehr_id} {how}; the EHR shakes hands next."
            )


def status(
    site: Annotated[str, _SITE],
    name: Annotated[str | None, _NAME_OR_ALL] = None,
    by: Annotated[str, _BY] = _OPERATOR,
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Ask the EHR how a subscription is."""
    from adapters.assembly.subscribing import subscribing  # noqa: PLC0415

    with told_in_words(), subscribing(data_dir) as (service, stated):
        for each in _names(stated, site, name):
            state = service.status(site, each, by)
            typer.echo(f"{site} {each}: {in_words(state, 0)}")


def renew(
    site: Annotated[str, _SITE],
    name: Annotated[str | None, _NAME_OR_ALL] = None,
    by: Annotated[str, _BY] = _OPERATOR,
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Write the subscription anew at the EHR: a new end, and active again after an error."""
    from adapters.assembly.subscribing import subscribing  # noqa: PLC0415

    with told_in_words(), subscribing(data_dir) as (service, stated):
        for each in _names(stated, site, name):
            state = service.renew(site, each, by)
            end = f", until {_moment(state.ends_at)}" if state.ends_at else ""
            typer.echo(f"{site} {each}: requested again{end}.")


def remove(
    site: Annotated[str, _SITE],
    name: Annotated[str, _NAME],
    by: Annotated[str, _BY] = _OPERATOR,
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """Delete the subscription at the EHR, and forget where it stood."""
    from adapters.assembly.subscribing import subscribing  # noqa: PLC0415

    with told_in_words(), subscribing(data_dir) as (service, _):
        service.remove(site, name, by)
        typer.echo(f"{site} {name}: removed.")


def watch(
    seconds: Annotated[float, typer.Option(help="How long; 0: until Ctrl-C.", min=0)] = 0,
    data_dir: Annotated[Path | None, _DATA_DIR] = None,
) -> None:
    """The list, live."""
    from rich.live import Live  # noqa: PLC0415

    from adapters.assembly.subscribing import subscribing  # noqa: PLC0415

    with told_in_words(), subscribing(data_dir) as (service, stated):
        until = time.monotonic() + seconds
        with Live(_table(service, stated), refresh_per_second=4) as live:
            while not seconds or time.monotonic() < until:
                time.sleep(0.5)
                live.update(_table(service, stated))


def in_words(state: "SubscriptionState | None", num_unread: int) -> str:
    """Where a subscription stands, in one sentence."""
    if state is None:
        return "never heard of: not subscribed, or the EHR has not called yet"
    missing = sum(gap.num_missing for gap in state.count.sought)
    lost = sum(gap.num_missing for gap in state.count.gaps) - missing
    parts = [
        state.standing.value,
        *([f"{missing} events missing, being looked for"] if missing else []),
        *([f"{lost} events missing and given up: import them"] if lost else []),
        *([f"{num_unread} records to be read"] if num_unread else []),
        *(["a query is owed"] if state.query_owed_since else []),
        *([f"the EHR tells of {', '.join(state.error_codes)}"] if state.error_codes else []),
        *([f"the EHR cannot be asked ({state.failure_code})"] if state.failure_code else []),
    ]
    return "; ".join(parts)


def _table(service: "SubscribingService", stated: Iterable[tuple[str, str]]) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    from clinical.subscription.plan import subscription_id_of  # noqa: PLC0415

    states, now = service.states(), service.clock.now()
    table = Table("site", "subscription", "at the EHR", "events", "heard", "ends", "it is")
    for site, name in sorted(stated):
        state, num_unread = states.get(subscription_id_of(site, name), (None, 0))
        table.add_row(
            site,
            name,
            state.ehr_id if state else "",
            "" if state is None or state.count.highest is None else str(state.count.highest),
            _ago(state.heard_at, now) if state else "",
            _moment(state.ends_at) if state and state.ends_at else "",
            in_words(state, num_unread),
        )
    return table


def _names(stated: Iterable[tuple[str, str]], site: str, name: str | None) -> list[str]:
    if name is not None:
        return [name]
    found = sorted(each for of_site, each in stated if of_site == site)
    if not found:
        raise typer.BadParameter("the sites file has no subscriptions of this site")
    return found


def _ago(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "never"
    return f"{max(now - moment, timedelta(0)).total_seconds():.0f} s ago"


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat(timespec="minutes")
