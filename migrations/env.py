"""How Alembic runs here: on the connection that `adapters.db.migrate` hands over, in its transaction."""

from alembic import context

from adapters.db import (  # noqa: F401 - their tables belong to the metadata
    card_tables,
    outward_tables,
    pull_tables,
    retraction_tables,
    subscription_tables,
)
from adapters.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
