"""What alembic runs to migrate: over the connection, and in the transaction, that mso.ledger.migrating hands it."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["revision_table"],
)
with context.begin_transaction():
    context.run_migrations()
