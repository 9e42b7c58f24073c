"""How Alembic runs here: on the connection that `adapters.db.migrate` hands over, in its transaction."""

from alembic import context

import adapters.db.pull_tables  # noqa: F401 - its tables join the same metadata
from adapters.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
