"""The schema's history, as Alembic scripts; they know the tables of `adapters.db` and nothing else."""
