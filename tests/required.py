"""What a test needs and the machine lacks: skipped at a developer's desk, a failure where it is required."""

import os

import pytest


def is_absent(what: str) -> None:
    """Skip; with CLINICAL_REQUIRE_SERVICES set, as continuous integration does, fail instead."""
    if os.environ.get("CLINICAL_REQUIRE_SERVICES"):  # noqa: TID251 - the environment of the tests
        pytest.fail(f"{what} is required here and is not installed")
    pytest.skip(f"{what} is not installed")
