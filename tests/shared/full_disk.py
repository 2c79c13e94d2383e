"""A registry on a full disk."""

import contextlib
import sqlite3

_TABLES = ("metrics", "latest_metrics", "tags", "params", "runs")


@contextlib.contextmanager
def full_disk(settings):
    """Let the registry's database refuse what is written, as one on a full disk does."""
    with contextlib.closing(sqlite3.connect(settings.database_file, timeout=30)) as database:
        for table in _TABLES:
            for what in ("insert", "update"):
                told = "select raise(abort, 'database or disk is full')"
                database.execute(f"create trigger full_{what}_{table} before {what} on {table} begin {told}; end")
        database.commit()
        try:
            yield
        finally:
            for table in _TABLES:
                for what in ("insert", "update"):
                    database.execute(f"drop trigger full_{what}_{table}")
            database.commit()
