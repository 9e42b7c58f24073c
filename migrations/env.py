"""How Alembic runs here: on the connection that `adapters.db.migrate` hands over, in its transaction."""

from alembic import context

from adapters.db import subscription_tables  # noqa: F401 - its tables are in the metadata
from adapters.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
