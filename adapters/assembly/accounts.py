"""Adding a clinician to the database of this site."""

from adapters.assembly.database import database_url
from adapters.db.clinicians import Clinicians
from adapters.db.engine import create_engine
from adapters.settings import Settings


def add_clinician(name: str, display_name: str, password: str, role: str) -> None:
    """Store a clinician who may sign in from now on.

    Raises:
        StorageUnavailableError; what the accounts refuse, such as a name that is taken.
    """
    with database_url(Settings()) as url:
        engine = create_engine(url)
        try:
            Clinicians(engine).add(name, display_name, password, role)
        finally:
            engine.dispose()
