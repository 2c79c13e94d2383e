"""Where state lives: one home on this machine, or the places that the environment names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hops_magic.errors import UsageError

HOME = "HOPS_HOME"
TRACKING = "HOPS_TRACKING_URI"
ARTIFACTS = "HOPS_ARTIFACTS"
FEATURES = "HOPS_FEATURES"
CATALOG = "HOPS_CATALOG"

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https")

# MLflow's client reads these itself; workers on other machines do not have them in their environment
_CREDENTIALS = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
)
_SECRET = re.compile(r"(://)[^/?#]*@")
_SECRET_PARAMETER = re.compile(r"(?i)([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&]*")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def home_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return where this user's runs, registry and embedded cluster belong: ``HOPS_HOME``, by default ``~/.hops``."""
    environ = os.environ if environ is None else environ
    return Path(environ.get(HOME) or "~/.hops").expanduser().absolute()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where experiments, models and the files of runs are kept.

    Attributes
    ----------
    home : Path
        Private folder of the user.
    tracking_uri : str
        Database or tracking server that records runs; may hold a password, so show :attr:`shown_tracking_uri`.
    artifacts : str
        URI under which the files of runs are kept; empty if a tracking server decides.
    artifacts_are_chosen : bool
        Whether the user named the place of the artifacts, so that we may believe that other machines reach it.
    credentials : mapping
        Environment variables with which a tracking server is entered.
    """

    home: Path
    tracking_uri: str = field(repr=False)
    artifacts: str = field(repr=False)
    artifacts_are_chosen: bool = False
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings of this process.

        Raises
        ------
        UsageError
            If a URI is of a kind that cannot hold the record.
        """
        environ = os.environ if environ is None else environ
        home = home_folder(environ)
        own = sqlite_url(home / "registry.db", for_mlflow=True)
        tracking = environ.get(TRACKING) or environ.get("MLFLOW_TRACKING_URI") or own
        scheme = _scheme(tracking)
        if scheme not in (*DATABASES, *SERVERS):
            raise UsageError(
                f"{TRACKING} must be a database (sqlite:///FILE, postgresql://...) or a tracking server (http://...), "
                f"got {redacted(tracking)}"
            )
        chosen = environ.get(ARTIFACTS, "")
        artifacts = _as_uri(chosen) if chosen else ""
        if not artifacts and scheme not in SERVERS:
            artifacts = (home / "artifacts").as_uri()
        credentials = {name: environ[name] for name in _CREDENTIALS if environ.get(name)}
        return cls(
            home=home,
            tracking_uri=tracking,
            artifacts=artifacts,
            artifacts_are_chosen=bool(chosen),
            credentials=credentials,
        )

    @property
    def runs(self) -> Path:
        """Folder that holds a folder for each run that this machine supervised."""
        return self.home / "runs"

    @property
    def scheme(self) -> str:
        """Kind of the registry: ``sqlite``, ``postgresql``, ``http`` ..."""
        return _scheme(self.tracking_uri)

    @property
    def is_server(self) -> bool:
        """Whether a tracking server keeps the record."""
        return self.scheme in SERVERS

    @property
    def database_file(self) -> Path | None:
        """File of the registry, if it is SQLite's."""
        if self.scheme != "sqlite":
            return None
        # SQLAlchemy, and so MLflow, takes escapes for their letters
        return Path(unquote(self.tracking_uri.split("///", 1)[-1].split("?")[0])).absolute()

    @property
    def artifacts_folder(self) -> Path | None:
        """Folder of the artifacts, if they are kept in files."""
        return Path(_path_of(self.artifacts)) if self.artifacts.startswith("file:") else None

    @property
    def shown_tracking_uri(self) -> str:
        """The tracking URI without its secrets."""
        return redacted(self.tracking_uri)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the registry."""
        return self.scheme == "sqlite" or (urlsplit(self.tracking_uri).hostname or "localhost") in _LOCAL_HOSTS

    def make_home(self) -> Path:
        """Make sure that the home exists and that nobody else can look into it."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.home


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """Where the feature store is.

    Attributes
    ----------
    home : Path
        Private folder of the user; what does not fit into memory spills there.
    lake : str
        Folder or URI of the tables (``s3://...``); credentials are read from the environment, as the cloud's own tools do.
    catalog : str
        Database of names, commits and statistics; may hold a password.
    """

    home: Path
    lake: str
    catalog: str = field(repr=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> FeatureSettings:
        """Read the settings of this process: ``HOPS_FEATURES`` and ``HOPS_CATALOG``."""
        environ = os.environ if environ is None else environ
        home = home_folder(environ)
        place = environ.get(FEATURES, "")
        lake = place.rstrip("/") if "://" in place else str(Path(place or home / "features").expanduser().absolute())
        return cls(home=home, lake=lake, catalog=environ.get(CATALOG) or sqlite_url(home / "features.db"))


def redacted(uri: str) -> str:
    """Return a URI without user, password and secret parameters, to be shown."""
    return _SECRET_PARAMETER.sub(r"\1***", _SECRET.sub(r"\1***@", uri))


def _scheme(uri: str) -> str:
    # postgresql+psycopg://... names the driver as well
    return urlsplit(uri).scheme.split("+")[0].lower() if "://" in uri else ""


def sqlite_url(file: Path, *, for_mlflow: bool = False) -> str:
    """Return how SQLAlchemy, and so MLflow, is told of a file, whatever letters its path has."""
    # what follows a "?" would be options, and an escape its letter
    path = str(file).replace("%", "%25").replace("?", "%3F")
    # MLflow makes the folder that it reads in a URL of the shorter kind, escapes and all
    return f"sqlite{'+pysqlite' if for_mlflow and path != str(file) else ''}:///{path}"


def _as_uri(place: str) -> str:
    return place if "://" in place or place.startswith("file:") else Path(place).expanduser().absolute().as_uri()


def _path_of(uri: str) -> str:
    from urllib.request import url2pathname

    return url2pathname(urlsplit(uri).path)
