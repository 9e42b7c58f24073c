"""How a command ends: an error of ours is told in its own words, without a trace, with status 1."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from clinical.errors import ClinicalError


@contextmanager
def told_in_words() -> Iterator[None]:
    """Turn a ClinicalError into a sentence on standard error and exit status 1."""
    try:
        yield
    except ClinicalError as error:
        typer.echo(f"{error.code}: {error}", err=True)
        raise typer.Exit(1) from error
