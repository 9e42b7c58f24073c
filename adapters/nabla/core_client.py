"""Nabla Core as something to ask: a note goes there and comes back coded, at once or later."""

from dataclasses import dataclass
from urllib.parse import quote

from adapters.nabla import core_events
from adapters.nabla.api import NablaApi, document
from adapters.nabla.connect import NoteExport
from adapters.nabla.errors import FailedJobError, MalformedAnswerError
from adapters.nabla.requests import NoteSettings, normalization

_PATH = "generate-normalized-data"


@dataclass(frozen=True, slots=True)
class Answered:
    """The response as it came, or the id under which it can be asked for (kept for two hours)."""

    response: bytes | None
    job_id: str = ""


class CoreClient:
    """Asks one organisation."""

    def __init__(
        self, api: NablaApi, settings: NoteSettings, *, users: NablaApi | None = None
    ) -> None:
        """`users` is the API for users, where the asynchronous way is wanted."""
        self._api = api
        self._settings = settings
        self._users = users

    def ask(self, export: NoteExport) -> Answered:
        """Send the note.

        Raises:
            NothingToNormalizeError, UnsuitableRequestError, FailedJobError
            MalformedAnswerError, and as NablaApi.post does.
        """
        content = normalization(export, self._settings, self._api.version)
        if self._users is None:
            body = self._api.post(_PATH, content)
            document(body)  # an object, whatever is in it
            return Answered(body)
        return self._of(self._users.post(f"{_PATH}-async", content))

    def poll(self, job_id: str) -> Answered:
        """Ask for what is being worked out.

        Raises:
            UnknownEntityError: it never was there, or the two hours are over.
            FailedJobError, MalformedAnswerError, and as NablaApi.get does.
        """
        api = self._users or self._api
        return self._of(api.get(f"{_PATH}-async/{quote(job_id, safe='')}"))

    def _of(self, body: bytes) -> Answered:
        job = core_events.parse_job(body)
        if job is None:
            raise MalformedAnswerError("the answer is not the state of a job")
        if job.has_failed:
            raise FailedJobError(f"Nabla gave it up, number {job.error_number}")
        if job.has_succeeded and job.result is None:
            raise MalformedAnswerError("payload: a job that succeeded needs its result")
        return Answered(job.result, job.id)
