"""Opening the catalog's database, and one writer at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hops_magic.features.errors import StoreError
from hops_magic.settings import redacted

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

_BUSY_S = 30.0


def open_database(url: str) -> Engine:
    """Open the catalog, and make its tables if it is new.

    Raises
    ------
    StoreError
        If that is not possible.
    """
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        engine = create_engine(_address(url), **({"connect_args": {"timeout": _BUSY_S}} if _is_sqlite(url) else {}))
        if _is_sqlite(url):
            _make_private(engine)
            event.listen(engine, "connect", _set_up)
            # two processes that open a new catalog at once would both make its tables
            with _file_lock(engine, "catalog"):
                _make_tables(engine)
        else:
            with lock(engine, "hops catalog"):
                _make_tables(engine)
    except ModuleNotFoundError as error:
        raise StoreError(f"{redacted(url)} needs the package {error.name}: pip install hops_magic[postgresql]") from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise StoreError(f"HOPS_CATALOG must be sqlite:///FILE or postgresql://..., got {redacted(url)}") from error
    except (SQLAlchemyError, OSError) as error:
        reason = redacted(str(getattr(error, "orig", None) or error).strip().splitlines()[0][:240])
        raise StoreError(f"the catalog of features at {redacted(url)} cannot be opened: {reason}") from error
    return engine


def _make_tables(engine: Engine) -> None:
    from hops_magic.features.catalog_tables import about, metadata

    metadata.create_all(engine)
    with engine.begin() as db:
        if db.execute(about.select()).first() is None:
            db.execute(about.insert().values(id=secrets.token_hex(4), revision=0))


@contextlib.contextmanager
def lock(engine: Engine, name: str) -> Iterator[None]:
    """Hold a lock that all users of the database see, and that ends with the process."""
    if engine.dialect.name == "sqlite":
        try:
            held = _file_lock(engine, name).acquire()
        except OSError as error:
            place = redacted(str(engine.url.database))
            raise StoreError(f"nothing can be written beside {place}: {error.strerror or error}") from error
        with held:
            yield
        return
    from sqlalchemy import text

    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    # the server frees the lock when this connection ends, however it ends
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        db.execute(text("SELECT pg_advisory_lock(:number)"), {"number": number})
        try:
            yield
        finally:
            db.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": number})


def _file_lock(engine: Engine, name: str) -> Any:
    import filelock

    folder = Path(str(engine.url.database) + ".locks")
    folder.mkdir(mode=0o700, exist_ok=True)
    return filelock.FileLock(folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.lock")


def _make_private(engine: Engine) -> None:
    place = engine.url.database
    if place is None or place == ":memory:":
        raise StoreError("the catalog of features must be in a file or on a server, not in memory")
    file = Path(place)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL, 0o600))


def _set_up(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite:")


def _address(url: str) -> URL:
    """Read the URL of a database; that an escape in a file's path is its letter does not depend on SQLAlchemy's age."""
    from sqlalchemy import make_url

    if url.startswith("sqlite:///"):
        file, mark, options = url.removeprefix("sqlite:///").partition("?")
        return make_url(f"sqlite://{mark}{options}").set(database=unquote(file) or None)
    for plain in ("postgresql://", "postgres://"):
        if url.startswith(plain):
            return make_url("postgresql+psycopg://" + url.removeprefix(plain))
    return make_url(url)
