"""Nabla Connect as something to ask: open an encounter there, and get its address anew.

The address lets whoever has it in, once, for ten minutes: it is returned, never stored or logged.
"""

from adapters.nabla import requests
from adapters.nabla.api import NablaApi, document, text_of


class ConnectClient:
    """Safe to call again: the same `external_encounter_id` is the same encounter, with a fresh address."""

    def __init__(self, api: NablaApi) -> None:
        """`api` is Connect's server API."""
        self._api = api

    def open_encounter(self, encounter: requests.Encounter) -> str:
        """Create the encounter, or find it; its one-time address.

        Raises:
            UnsuitableRequestError, MalformedAnswerError, and as NablaApi.post does.
        """
        content = requests.encounter(encounter, self._api.version)
        return text_of(document(self._api.post("encounters", content)), "encounter_url")

    def encounter_url(self, external_provider_id: str, external_encounter_id: str) -> str:
        """A fresh one-time address; raises MalformedAnswerError, and as NablaApi.post does."""
        content = {
            "external_provider_id": external_provider_id,
            "external_encounter_id": external_encounter_id,
        }
        return text_of(document(self._api.post("encounters/url", content)), "encounter_url")

    def add_user(self, user: requests.User) -> None:
        """Let Connect know a clinician.

        Raises:
            UnsuitableRequestError: the pinned version has no users.
            ConflictingUserError: address and id belong to two users.
            Else as NablaApi.post does.
        """
        self._api.post("users", requests.user(user, self._api.version))
