"""Runs the migrations on the connection that `recovery.store.migrate` opened and locked, in its transaction."""

from alembic import context

from recovery.store import results, schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
assert results.celery_taskmeta.metadata is schema.metadata  # imported so that the metadata is complete
context.run_migrations()
