"""Where Alembic meets the server's own connection; it opens no database itself."""

from alembic import context

from sfbatch.jobs.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
