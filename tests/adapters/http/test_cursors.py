"""Cursors: what was sealed comes back exactly, and nothing else opens."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.http.cursors import seal, unseal
from adapters.http.errors import BadCursorError

KEY = b"k" * 32


@given(st.floats(allow_nan=False, allow_infinity=False), st.uuids(), st.text())
def test_a_cursor_gives_back_what_was_sealed(priority: float, identity: UUID, filters: str) -> None:
    cursor = seal((priority, identity), filters, KEY)
    assert unseal(cursor, filters, KEY) == (priority, identity)
    assert len(cursor) < 200


def test_a_cursor_is_good_for_its_filters_and_its_key_only() -> None:
    cursor = seal((0.5, UUID(int=1)), "open", KEY)
    for filters, key in (("signed", KEY), ("open", b"x" * 32)):
        with pytest.raises(BadCursorError):
            unseal(cursor, filters, key)


@given(st.text(max_size=200))
def test_no_other_text_opens(text: str) -> None:
    with pytest.raises(BadCursorError):
        unseal(text, "open", KEY)


def test_no_changed_cursor_opens() -> None:
    cursor = seal((0.5, UUID(int=1)), "open", KEY)
    for position in range(len(cursor) - 1):
        other = "A" if cursor[position] != "A" else "B"
        with pytest.raises(BadCursorError):
            unseal(cursor[:position] + other + cursor[position + 1 :], "open", KEY)
