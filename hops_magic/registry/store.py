"""The only door to MLflow: opens the store safely and turns its failures into sentences."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from filelock import FileLock
from filelock import Timeout as LockTimeout

from hops_magic.errors import NotFoundError, RegistryError
from hops_magic.settings import ARTIFACTS, TRACKING, Settings, redacted, sqlite_url

if TYPE_CHECKING:
    from mlflow import MlflowClient

OPEN_WITHIN_S = 60.0
ANSWER_WITHIN_S = 5.0
MIN_FREE_BYTES = 16 << 20
ANALYZE_ROWS = 1_000
_LOCK_NUMBER = 0x686F7073
"""Key of PostgreSQL's advisory lock: the letters of our name."""


class Store:
    """An open MLflow store. Threads may share it.

    Parameters
    ----------
    to_read
        Whether a file that cannot be opened, since SQLite needs some room beside it, is read as it lies there.
    """

    def __init__(self, settings: Settings, *, to_read: bool = False) -> None:
        self.settings = settings
        self._known_runs: int | None = None
        self._lies_still = to_read and _lies_still(settings)
        self._client = _open(settings, as_it_lies=self._lies_still)

    @property
    def client(self) -> MlflowClient:
        """MLflow's way to the store; that of a file which was read as it lies is opened as soon as it can be."""
        if self._lies_still and not _lies_still(self.settings):
            self._client, self._lies_still = _open(self.settings), False
        return self._client

    def failures(self, doing: str) -> contextlib.AbstractContextManager[None]:
        """Turn what MLflow raises inside the context into one sentence that begins with what was being done."""
        return translated(self.settings, doing)

    def analyze(self) -> None:
        """Let SQLite look at its tables again when runs have doubled; without it, sorting by a metric takes seconds."""
        file = self.settings.database_file
        if file is None:
            return
        with contextlib.closing(sqlite3.connect(file, timeout=10)) as connection, contextlib.suppress(sqlite3.Error):
            runs = connection.execute("select count(*) from runs").fetchone()[0]
            known = _known_runs(connection)
            if known is None or runs > 2 * known + 20:
                connection.execute(f"pragma analysis_limit = {ANALYZE_ROWS}")
                connection.execute("analyze")
                connection.commit()

    def freshen(self) -> bool:
        """Let queries use what SQLite learned of its tables since; an open connection would never notice.

        Returns
        -------
        bool
            Whether there was something new.
        """
        file = self.settings.database_file
        if file is None:
            return False
        try:
            with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
                known = _known_runs(connection)
        except sqlite3.Error:
            return False  # the query that follows says what is wrong
        if known == self._known_runs:
            return False
        self._known_runs = known
        self.client._tracking_client.store.engine.dispose()
        return True


def _known_runs(connection: sqlite3.Connection) -> int | None:
    """Return how many runs there were when SQLite last looked at its tables; None if it never did."""
    if not connection.execute("select 1 from sqlite_master where name = 'sqlite_stat1'").fetchone():
        return None
    known = connection.execute("select stat from sqlite_stat1 where tbl = 'runs' limit 1").fetchone()
    return int(known[0].split()[0]) if known else None


def check_writable(settings: Settings) -> None:
    """Check, without loading MLflow, that the registry takes records; called before a run starts.

    Raises
    ------
    RegistryError
        One sentence that says what is wrong and what to set.
    """
    if settings.is_server:
        _check_server(settings)
    elif settings.database_file is not None:
        _check_file(settings, settings.database_file)
    else:
        _check_database(settings)
    folder = settings.artifacts_folder
    if folder is not None:
        _check_folder(folder, f"set {ARTIFACTS} to another place")


def check_reachable_from(settings: Settings, *, cluster_is_local: bool) -> None:
    """Refuse a registry that the machines of the cluster cannot reach.

    Raises
    ------
    RegistryError
        Saying what to set.
    """
    if cluster_is_local:
        return
    if settings.is_local:
        raise RegistryError(
            f"the cluster's machines cannot reach the registry {settings.shown_tracking_uri}, which only this machine can: "
            f"set {TRACKING} to a database or tracking server that they reach, such as postgresql://HOST/DATABASE"
        )
    if settings.artifacts_folder is not None and not settings.artifacts_are_chosen:
        raise RegistryError(
            f"the cluster's machines cannot reach {settings.artifacts_folder}, where the files of runs would go: "
            f"set {ARTIFACTS} to a place that they reach, such as s3://BUCKET/PATH or a shared folder"
        )


@contextlib.contextmanager
def translated(settings: Settings, doing: str) -> Iterator[None]:
    """Turn the failures of MLflow and of what it stands on into :class:`RegistryError`."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    where = settings.shown_tracking_uri
    try:
        yield
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise NotFoundError(f"{doing}: {_first_line(error)}") from error
        raise RegistryError(f"{doing} failed in the registry {where}: {_cause(error)}") from error
    except ModuleNotFoundError as error:
        raise RegistryError(
            f"the registry {where} needs the package {error.name}: pip install 'hops_magic[postgresql]' or that package"
        ) from error
    except LockTimeout as error:
        raise RegistryError(f"{doing}: another process has held {error.lock_file} for {OPEN_WITHIN_S:.0f} s") from error
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise RegistryError(f"{doing} failed in the registry {where}: {_cause(error)}") from error


def _lies_still(settings: Settings) -> bool:
    """Whether nobody has the registry's file open, nor can open it: its disk has no room for what readers share."""
    file = settings.database_file
    if file is None or not file.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=10)) as connection:
            connection.execute("select 1 from sqlite_master")
    except sqlite3.OperationalError:
        log = file.with_name(f"{file.name}-wal")
        return not log.exists() or not log.stat().st_size
    return False


def _open(settings: Settings, *, as_it_lies: bool = False) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # the defaults wait for minutes before they say that a server is gone
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    # a server that accepts connections and says nothing would be waited for without end
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
    for name, value in settings.credentials.items():
        os.environ.setdefault(name, value)
    # its progress bars, links and migrations speak in the middle of a user's output
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry", "mlflow.tracking"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    uri = settings.tracking_uri
    if as_it_lies:
        # one reading for SQLAlchemy, one for SQLite
        uri = f"sqlite+pysqlite:///file:{quote(quote(str(settings.database_file)))}?immutable=1&uri=true"
    with translated(settings, "opening"), contextlib.nullcontext() if as_it_lies else _first_open(settings):
        # its constructor already makes tables
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
        if not settings.is_server:
            client.search_registered_models(max_results=1)
    return client


@contextlib.contextmanager
def _first_open(settings: Settings) -> Iterator[None]:
    """Hold a lock while tables may be made: processes that make them at once destroy the store."""
    file = settings.database_file
    if file is not None:
        settings.make_home()
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=OPEN_WITHIN_S):
            if not file.exists():
                _make_tables(file)
            yield
            with contextlib.closing(sqlite3.connect(file, timeout=10)) as connection:
                # readers and the writer no longer wait for each other
                connection.execute("pragma journal_mode = wal")
    elif settings.scheme == "postgresql":
        import sqlalchemy

        engine = sqlalchemy.create_engine(settings.tracking_uri, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"select pg_advisory_lock({_LOCK_NUMBER})"))
            yield
    else:
        yield


def _make_tables(file: Path) -> None:
    """Make an empty store beside its place, then move it there: a process killed meanwhile leaves no half of one."""
    from mlflow import MlflowClient

    for left in file.parent.glob(f".{file.name}.*draft"):
        left.unlink()  # of a process that was killed: whoever makes tables holds the lock
    # MLflow keeps connections by name, also to a file that a full disk has ended
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}.draft")
    try:
        draft.touch(mode=0o600)
        uri = sqlite_url(draft, for_mlflow=True)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
        client.search_registered_models(max_results=1)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def _check_server(settings: Settings) -> None:
    parts = urlsplit(settings.tracking_uri)
    host = parts.hostname or ""
    address = f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}/health"
    remedy = f"start it, or set {TRACKING} to another registry"
    try:
        urllib.request.urlopen(address, timeout=ANSWER_WITHIN_S).close()  # noqa: S310 (the user's own server)
    except urllib.error.HTTPError:
        return  # it lives; what it refuses, it refuses with its own words later
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise RegistryError(f"the tracking server {redacted(address)} does not answer ({reason}): {remedy}") from error


def _check_file(settings: Settings, file: Path) -> None:
    remedy = f"make it writable, or set {TRACKING} to another registry"
    if file.parent == settings.home:
        _check_folder(settings.home, "set HOPS_HOME to another folder")
    else:
        _check_folder(file.parent, remedy)
    if not file.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=rw", uri=True, timeout=0)) as connection:
            connection.execute("begin immediate")
            connection.execute("rollback")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):  # somebody writes at this moment, so it can be written
            raise RegistryError(f"the registry {file} cannot be written ({error}): {remedy}") from error
    except sqlite3.DatabaseError as error:
        raise RegistryError(f"the registry {file} is damaged or no database ({error}): move it away") from error


def _check_folder(folder: Path, remedy: str) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        probe = folder / f".hops-probe-{os.getpid()}"
        # a file system can be read-only for root as well, so that only writing tells
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise RegistryError(
            f"{folder} cannot be written ({error.strerror}), so that no run is recorded: {remedy}"
        ) from error
    if free < MIN_FREE_BYTES:
        raise RegistryError(f"the disk of {folder} is full ({free >> 20} MiB left), so that no run is recorded: make room")


def _check_database(settings: Settings) -> None:
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    where = settings.shown_tracking_uri
    try:
        timeout = {"connect_timeout": int(ANSWER_WITHIN_S)} if settings.scheme in ("postgresql", "mysql") else {}
        engine = sqlalchemy.create_engine(settings.tracking_uri, poolclass=sqlalchemy.NullPool, connect_args=timeout)
        with engine.connect() as connection:
            read_only = (
                connection.execute(sqlalchemy.text("show transaction_read_only")).scalar()
                if settings.scheme == "postgresql"
                else "off"
            )
    except ModuleNotFoundError as error:
        raise RegistryError(
            f"the registry {where} needs the package {error.name}: pip install 'hops_magic[postgresql]' or that package"
        ) from error
    except (SQLAlchemyError, OSError) as error:
        raise RegistryError(
            f"the registry {where} cannot be reached ({_cause(error)}): start it, or set {TRACKING} to another"
        ) from error
    if read_only != "off":
        raise RegistryError(f"the registry {where} is read-only: set {TRACKING} to one that can be written")


def _cause(error: BaseException) -> str:
    """Say in a few words, without SQL, parameters or secrets, what an exception comes from."""
    original = getattr(error, "orig", None)
    seen: BaseException = original if isinstance(original, BaseException) else error
    text = _first_line(seen)
    if "readonly database" in text:
        return "it can only be read: its disk is full, or this user may not write it"
    if "database or disk is full" in text or getattr(seen, "errno", None) == 28:
        return "the disk is full"
    if "out-of-date database schema" in text:
        return "it was made by another version of MLflow: 'mlflow db upgrade' brings it up to date"
    return text


def _first_line(error: BaseException) -> str:
    text = str(getattr(error, "message", "") or error).strip() or type(error).__name__
    return redacted(text.splitlines()[0])[:300]
