"""Tables for terminals of any width: ids, which other commands take, are never cut short."""

from rich.table import Column, Table

_ID_WIDTH = 36


def table(id_name: str, *names: str, title: str | None = None) -> Table:
    """A table whose first column holds ids; words in the others are folded instead of cut."""
    others = (Column(name, overflow="fold") for name in names)
    return Table(Column(id_name, no_wrap=True, min_width=_ID_WIDTH), *others, title=title)
