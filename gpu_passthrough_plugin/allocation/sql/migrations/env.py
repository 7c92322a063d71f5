"""Run alembic's migrations on the connection that the caller gives."""

from __future__ import annotations

from alembic import context

from gpu_passthrough_plugin.allocation.sql.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite alters a table by copying it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
