"""The sites file: TOML, one table a site, read whole or refused with the place that is wrong.

A secret may be written in the file, or as `file:PATH` (relative to the sites file).
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from adapters.sites.secret import Secret
from adapters.sites.site import Site
from clinical.errors import RejectedError

_FROM_FILE = "file:"
_NAME = re.compile(r"^[A-Za-z0-9\-._~]{1,64}$")  # it stands in addresses


class MalformedSitesFileError(RejectedError):
    """The sites file cannot be read, or says something that cannot be; the message names the place."""

    code = "sites.malformed_file"


class _Sites(Struct, kw_only=True, forbid_unknown_fields=True):
    sites: dict[str, Site] = {}


def read_sites(path: Path) -> dict[str, Site]:
    """Every site of the file, by name.

    Raises:
        MalformedSitesFileError
    """
    try:
        stated = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MalformedSitesFileError(f"{path.name}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MalformedSitesFileError(f"{path.name} is no TOML: {error}") from error
    sites = sites_of(stated, folder=path.parent)
    _require_names(sites)
    return sites


def sites_of(stated: dict[str, Any], *, folder: Path) -> dict[str, Site]:
    """The sites of what a file states; secrets in files are looked for from `folder`."""

    def secret(wanted: type, value: Any) -> Any:
        if wanted is not Secret or not isinstance(value, str):
            raise NotImplementedError
        return Secret(_opened(value, folder))

    try:
        return msgspec.convert(stated, _Sites, dec_hook=secret).sites
    except msgspec.ValidationError as error:
        raise MalformedSitesFileError(_in_words(error)) from error


def _opened(value: str, folder: Path) -> str:
    if not value.startswith(_FROM_FILE):
        return value
    path = folder / value.removeprefix(_FROM_FILE)
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        # Of a value error msgspec says where in the file it was.
        raise ValueError(f"the secret's file {path.name} cannot be read") from error


def _require_names(sites: dict[str, Site]) -> None:
    for name in sites:
        if not _NAME.match(name):
            raise MalformedSitesFileError(
                "the name of a site is 1 to 64 letters, digits, or -._~ : it stands in addresses"
            )


def _in_words(error: msgspec.ValidationError) -> str:
    """What is wrong and where, as in `sites.ward.fhir.base_url`."""
    what, _, where = str(error).rpartition(" - at ")
    return f"{where.strip('`').removeprefix('$.')}: {what}" if what else str(error)
