"""Tables of commands: what another command takes is there whole, in the narrowest terminal."""

from io import StringIO
from uuid import UUID

from rich.console import Console

from pipelines.commands.tables import table


def test_an_id_is_whole_in_eighty_columns_and_a_long_code_is_folded() -> None:
    listed = table("delivery", "site", "where", "kind", "why", "since")
    why, name = "hl7v2.missing_visit_number", str(UUID(int=2**127 + 5))
    listed.add_row(name, "ward", "", "ADT^A01", why, "2026-11-26T23:14:25+00:00")
    out = StringIO()
    Console(file=out, width=80).print(listed)
    told = out.getvalue()
    assert name in told
    assert "…" not in told
