"""The connection file, by which a user's kernels find the embedded cluster, and the identity of processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock
from jupyter_core.paths import jupyter_runtime_dir

from hops_magic.engine.private_files import write_private
from hops_magic.engine.security import Credentials, credentials_in
from hops_magic.errors import ClusterError
from hops_magic.settings import home_folder


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process that cannot be mistaken for another which later gets the same number."""

    pid: int
    started: int
    """Clock ticks between the machine's start and the process's."""
    boot: str
    """Which start of which machine."""

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Look a process up; None if there is none, or only its exit status is left."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        if fields[0] in ("Z", "X"):
            return None
        return cls(pid=pid, started=int(fields[19]), boot=_boot())

    def is_alive(self) -> bool:
        """Whether it still runs, as seen from the machine that it runs on."""
        return Process.of(self.pid) == self

    def signal(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""  # some sandboxes hide it
    return f"{socket.gethostname()}:{boot}"


@dataclass(frozen=True, kw_only=True)
class Connection:
    """What the connection file tells of an embedded cluster."""

    address: str
    process: Process
    folder: str
    """The daemon's private folder: credentials, log, scratch of the workers."""
    prefix: str
    """``sys.prefix`` of the Python that its workers run."""
    home: str
    started_at: float
    versions: dict[str, str] = field(default_factory=dict)
    dashboard: str = ""

    def credentials(self) -> Credentials:
        """Return the credentials that its scheduler accepts."""
        return credentials_in(Path(self.folder))

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Connection:
        """Read the file's text.

        Raises
        ------
        ValueError
            If it is not such a text.
        """
        try:
            values = json.loads(text)
            return cls(**{**values, "process": Process(**values["process"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a connection file: {error}") from error


class ConnectionFile:
    """The one file per user, machine and ``HOPS_HOME``, in Jupyter's runtime directory.

    A home may be shared by machines, whose loopback addresses mean nothing to each other: so the machine is in the name.
    """

    def __init__(self, home: Path | None = None, runtime_dir: Path | None = None) -> None:
        self.home = home or home_folder()
        self._folder = runtime_dir or Path(jupyter_runtime_dir())
        identity = f"{os.path.realpath(self.home)}\0{socket.gethostname()}\0{os.getuid()}"
        self.digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
        self.path = self._folder / f"hops-cluster-{self.digest}.json"

    def lock(self, timeout_s: float) -> FileLock:
        """Return the lock under which a cluster is found, started or cleaned up."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ClusterError(f"Jupyter's runtime directory {self._folder} cannot be made: {error.strerror}") from error
        return FileLock(self.path.with_suffix(".lock"), timeout=timeout_s, mode=0o600)

    def read(self) -> Connection | None:
        """Return what the file tells; None if there is none, or none that this user wrote whole."""
        try:
            with self.path.open() as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
                    return None
                return Connection.from_json(file.read())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def live(self) -> Connection | None:
        """Return the connection to a cluster whose daemon lives; None without one."""
        connection = self.read()
        return connection if connection is not None and connection.process.is_alive() else None

    def write(self, connection: Connection) -> None:
        """Write the file whole or not at all, readable for its user only."""
        try:
            write_private(self.path, connection.to_json())
        except OSError as error:
            raise ClusterError(f"the connection file {self.path} cannot be written: {error.strerror}") from error

    def remove(self, process: Process) -> None:
        """Remove the file if it speaks of ``process``."""
        connection = self.read()
        if connection is not None and connection.process == process:
            self.path.unlink(missing_ok=True)
