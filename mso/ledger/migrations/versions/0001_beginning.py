"""The first form of the ledger."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    counted = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)
    epoch = op.create_table(
        "epoch",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("last_row", sa.BigInteger, nullable=False),
    )
    # Not from 0: whoever claimed a ledger that was lost since must not take an epoch of this one for its own.
    op.bulk_insert(epoch, [{"id": 1, "epoch": int(time.time()), "last_row": 0}])
    op.create_table(
        "runs",
        sa.Column("opened", counted, primary_key=True),
        sa.Column("simulation", sa.Text, nullable=False),
        sa.Column("run", sa.BigInteger, nullable=False),
        sa.Column("simulator", sa.Text, nullable=False),
        sa.Column("simulator_id", sa.Text, nullable=False),
        sa.Column("protocol_version", sa.BigInteger, nullable=False),
        sa.Column("keep_logs", sa.BigInteger, nullable=False),
        sa.Column("failure_policy", sa.Text, nullable=False),
        sa.Column("more_to_come", sa.Boolean, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("announced", sa.Boolean, nullable=False),
        sa.Column("stopping", sa.Boolean, nullable=False),
        sa.Column("removing_since", instant),
        sa.Column("ended_at", instant),
        sa.Column("reported_at", instant),
        sa.Column("forgotten_at", instant),
        sa.UniqueConstraint("simulation", "run", name="runs_key"),
    )
    op.create_index("runs_forgotten_at", "runs", ["forgotten_at"])
    op.create_table(
        "requests",
        sa.Column("kept", counted, primary_key=True),
        sa.Column("simulation", sa.Text, nullable=False),
        sa.Column("run", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("delivery", sa.BigInteger, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.UniqueConstraint("simulation", "run", "fingerprint", name="requests_key"),
    )
    op.create_table(
        "models",
        sa.Column("position", counted, primary_key=True),
        sa.Column("simulation", sa.Text, nullable=False),
        sa.Column("run", sa.BigInteger, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("recollection", sa.Text, nullable=False),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("since", instant, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("deployed", sa.BigInteger),
        sa.Column("ready", sa.Boolean, nullable=False),
        sa.Column("exit_code", sa.BigInteger),
        sa.Column("reason", sa.Text),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("started_at", instant),
        sa.Column("finished_at", instant),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("lines", sa.Text, nullable=False),
        sa.Column("warnings", sa.Text, nullable=False),
        sa.UniqueConstraint("simulation", "run", "model", name="models_key"),
    )
    op.create_table(
        "outbox",
        sa.Column("number", counted, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("simulation", sa.Text, nullable=False),
        sa.Column("run", sa.BigInteger),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("held", sa.Boolean, nullable=False),
        sa.Column("witness", sa.Text, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.Column("withheld", sa.Boolean, nullable=False),
    )
    op.create_index("outbox_run", "outbox", ["simulation", "run"])
    op.create_table(
        "notes",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
