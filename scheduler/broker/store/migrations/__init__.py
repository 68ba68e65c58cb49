"""Alembic's environment and the versions of the broker's schema."""
