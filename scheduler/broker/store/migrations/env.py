"""What Alembic runs: the migrations, in the transaction that it is handed."""

from alembic import context

from fitcast.scheduler.broker.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite can't alter tables: they are made anew
    render_as_batch=context.config.attributes["connection"].dialect.name == "sqlite",
)
context.run_migrations()
