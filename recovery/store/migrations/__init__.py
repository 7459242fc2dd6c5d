"""The schema, step by step, and `migrate`, which brings a database to the newest step."""

from recovery.store.migrate import HEAD, migrate

__all__ = ["HEAD", "migrate"]
