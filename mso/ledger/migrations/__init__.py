"""How the form of a ledger came to be: one script a change, run by alembic when a ledger is opened.

A script that was released never changes. It names types and tables itself: what mso.ledger.schema says today it did not
say then.
"""
