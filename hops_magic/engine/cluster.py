"""The cluster in use, and the ways to another: the embedded one, one that is connected to, one of the notebook's objects."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from distributed import Client

from hops_magic.engine import attach, embedded, plugins, versions
from hops_magic.engine.connection import Connection, ConnectionFile
from hops_magic.engine.security import given
from hops_magic.engine.status import ClusterKind, ClusterStatus, status_from
from hops_magic.errors import ClusterError, NotFoundError, OptionError, VersionMismatchError, counted

logger = logging.getLogger(__name__)

_SCALE_WITHIN_S = 120.0
_REPLY_WITHIN_S = 10.0
_REGAIN_WITHIN_S = 2.0
_LOCAL_HOSTS = ("127.", "localhost", "[::1]")


class Cluster:
    """A Dask cluster with our placement and rank hosts, as this session uses it.

    Parameters
    ----------
    owner
        The cluster object of the notebook behind a borrowed client, if there is one: it can be scaled.
    """

    def __init__(
        self,
        client: Client,
        kind: ClusterKind,
        *,
        address: str = "",
        dashboard: str = "",
        versions_there: dict[str, str] | None = None,
        owner: Any = None,
    ) -> None:
        self.client, self.kind, self.owner = client, kind, owner
        self.address = address or _address(client)
        self._dashboard, self._versions = dashboard, versions_there or {}
        plugins.install(client)

    @property
    def is_local(self) -> bool:
        """Whether its processes run on this machine and see its files."""
        place = self.address.partition("://")[2]
        return self.kind is ClusterKind.EMBEDDED or self.address.startswith("inproc") or place.startswith(_LOCAL_HOSTS)

    @property
    def is_usable(self) -> bool:
        """Whether the connection still stands."""
        link = self.client.scheduler_comm
        # a scheduler that says goodbye leaves the client's status as it was
        return bool(self.client.status == "running" and link is not None and not link.comm.closed())

    def status(self) -> ClusterStatus:
        """Ask the scheduler what there is and what runs.

        Raises
        ------
        ClusterError
            If it does not answer.
        """
        try:
            scheduler = self.client.sync(self.client.scheduler.identity, n_workers=-1, callback_timeout=_REPLY_WITHIN_S)
            state = self.client.sync(self.client.scheduler.hops_state, callback_timeout=_REPLY_WITHIN_S)
        except (OSError, TimeoutError) as error:
            raise ClusterError(f"the cluster at {self.address} does not answer: {error or type(error).__name__}") from error
        dashboard = self._dashboard or _dashboard(self.client)
        return status_from(self.kind, scheduler, state or {}, dashboard=dashboard, versions=self._versions)

    def scale(self, workers: int) -> None:
        """Change the number of workers.

        Raises
        ------
        OptionError
            If the number makes no sense here.
        ClusterError
            If it can only be scaled where it was started, or the workers do not come up.
        """
        if workers < 1:
            raise OptionError("workers", "must be at least 1", workers, "end the cluster with %cluster stop")
        self._refuse_to_shrink_under_runs(workers)
        if self.kind is ClusterKind.EMBEDDED:
            self._scale_embedded(workers)
        elif hasattr(self.owner, "scale"):
            try:
                self.owner.scale(workers)
            except (ValueError, TypeError, RuntimeError) as error:
                raise ClusterError(
                    f"{type(self.owner).__name__} cannot have {counted(workers, 'worker')}: {error}"
                ) from error
        else:
            raise ClusterError(f"the cluster at {self.address} was started elsewhere: add or remove workers there")

    def close(self) -> None:
        """Leave the cluster; it goes on, and so do its runs. A borrowed client stays open."""
        if self.kind is not ClusterKind.BORROWED:
            self.client.close(timeout=2)

    def _scale_embedded(self, workers: int) -> None:
        try:
            answer = self.client.sync(self.client.scheduler.hops_scale, workers=workers, callback_timeout=_SCALE_WITHIN_S)
        except (ClusterError, OSError, TimeoutError) as error:
            raise ClusterError(f"the embedded cluster did not scale to {counted(workers, 'worker')}: {error}") from error
        if "refused" in answer:
            raise OptionError("workers", f"must be at most {answer['gpus']} (one per GPU of this machine)", workers)

    def _refuse_to_shrink_under_runs(self, workers: int) -> None:
        status = self.status()
        if workers < len(status.workers) and status.runs:
            names = ", ".join(run.name for run in status.runs)
            raise ClusterError(f"workers cannot be taken away while runs are going on ({names}): stop them or wait")


class Clusters:
    """A session's holder of the cluster in use.

    Parameters
    ----------
    file
        Where the embedded cluster is found; by default the file of ``HOPS_HOME``.
    """

    def __init__(self, file: ConnectionFile | None = None) -> None:
        self._file = file
        self._current: Cluster | None = None

    @property
    def file(self) -> ConnectionFile:
        """The embedded cluster's connection file."""
        # looked up late: a notebook may set HOPS_HOME before its first job
        if self._file is None:
            self._file = ConnectionFile()
        return self._file

    @property
    def in_use(self) -> Cluster | None:
        """The cluster in use, without looking for one."""
        return self._current

    def current(self, start: bool = True) -> Cluster:
        """Return the cluster in use: the one chosen, else the embedded one, which is started if need be.

        Parameters
        ----------
        start
            False: do not start one.

        Raises
        ------
        NotFoundError
            If none is in use or running, and none shall be started.
        ClusterError, VersionMismatchError
            If it cannot be started or used, or the chosen one does not answer.
        """
        if self._current is not None:
            if self._current.is_usable and _proves_alive(self._current.client):
                return self._with_plugins(self._current)
            if not self._current.kind.is_ours:
                return self._regain(self._current)
            self.close()
        if not start and self.file.live() is None:
            raise NotFoundError("no cluster is running: start one with %cluster start, or connect with %cluster connect")
        return self._embedded(None, None)

    def start(self, workers: int | None = None, threads: int | None = None) -> Cluster:
        """Use the embedded cluster, starting it with so many workers and threads each; None: as the machine suggests.

        Raises
        ------
        ClusterError
            If it runs already with another number of workers.
        """
        running = self.file.live() is not None
        cluster = self._embedded(workers, threads)
        if running and (workers or threads):
            have = cluster.status().workers
            if (workers and len(have) != workers) or (threads and any(worker.threads != threads for worker in have)):
                raise ClusterError(
                    f"the embedded cluster is running already with {counted(len(have), 'worker')} of "
                    f"{counted(have[0].threads if have else 0, 'thread')}: change it with %cluster scale, or start anew "
                    "after %cluster stop"
                )
        return cluster

    def connect(
        self, place: str, tls_ca: str | None = None, tls_cert: str | None = None, tls_key: str | None = None
    ) -> Cluster:
        """Use the cluster at an address or behind a scheduler file.

        Raises
        ------
        ClusterError, VersionMismatchError
            If it cannot be reached or used; the cluster in use stays.
        """
        credentials = given(tls_ca, tls_cert, tls_key)
        address = attach.address_of(place, credentials)
        attach.check_reachable(address, credentials)
        client = attach.connect(address, credentials)
        return self._adopt(client, ClusterKind.CONNECTED, address)

    def use(self, thing: Any) -> Cluster:
        """Use a ``distributed.Client``, or any cluster object that gives one.

        Raises
        ------
        OptionError
            If it is neither.
        ClusterError, VersionMismatchError
            If it cannot be used; the cluster in use stays.
        """
        if isinstance(thing, Cluster):
            self._replace(thing)
            return thing
        if not isinstance(thing, Client) and not callable(getattr(thing, "get_client", None)):
            kind = type(thing).__name__
            raise OptionError("cluster", "must be a distributed.Client or a Dask cluster object", kind, "see %cluster -h")
        owner = None if isinstance(thing, Client) else thing
        client = thing if owner is None else owner.get_client()
        if getattr(client, "asynchronous", False) or not isinstance(client, Client):
            raise ClusterError(
                "an asynchronous client cannot be used from a notebook's cells: make it without asynchronous=True"
            )
        if client.status != "running":
            raise ClusterError(f"the client is {client.status}: make a new one")
        return self._adopt(client, ClusterKind.BORROWED, _address(client), owner or client.cluster)

    def scale(self, workers: int) -> Cluster:
        """Change the number of workers of the cluster in use; see :meth:`Cluster.scale`."""
        cluster = self.current(start=False)
        cluster.scale(workers)
        return cluster

    def stop(self, force: bool = False) -> bool:
        """End the embedded cluster, or leave the one that is not ours; False if there was none.

        Raises
        ------
        ClusterError
            If runs are going on and it is not forced.
        """
        if self._current is not None and not self._current.kind.is_ours:
            self.close()
            return True
        if not force and self.file.live() is not None:
            self._refuse_under_runs()
        self.close()
        return embedded.end(self.file)

    def close(self) -> None:
        """Leave the cluster in use."""
        if self._current is not None:
            self._current.close()
            self._current = None

    def _refuse_under_runs(self) -> None:
        try:
            runs = self._embedded(None, None).status().runs
        except VersionMismatchError:
            logger.info("ending an embedded cluster of other versions, whose runs this kernel cannot see")
            return
        except ClusterError as error:
            raise ClusterError(f"{error}; end it without a look at its runs by --force") from error
        if runs:
            names = ", ".join(f"{run.name} ({run.run_id})" if run.name != run.run_id else run.run_id for run in runs)
            raise ClusterError(f"runs are going on ({names}): stop them first, or end the cluster with them by --force")

    def _embedded(self, workers: int | None, threads: int | None) -> Cluster:
        current = self._current
        if current is not None and current.kind is ClusterKind.EMBEDDED and current.is_usable:
            return current
        for last in (False, True):
            connection = embedded.find_or_start(self.file, workers, threads)
            _check_embedded(connection)
            try:
                client = attach.connect(connection.address, connection.credentials(), attach.EmbeddedClient)
            except ClusterError:
                # it may have ended, being idle, between our look and our call
                if last or not _gone(connection):
                    raise
                continue
            break
        cluster = Cluster(
            client,
            ClusterKind.EMBEDDED,
            address=connection.address,
            dashboard=connection.dashboard,
            versions_there=connection.versions,
        )
        self._replace(cluster)
        return cluster

    def _adopt(self, client: Client, kind: ClusterKind, address: str, owner: Any = None) -> Cluster:
        try:
            remedy = "make the environments of the kernel and the cluster the same"
            found = attach.check(client, f"the cluster at {address}", remedy)
            cluster = Cluster(client, kind, address=address, versions_there=found, owner=owner)
        except BaseException:
            if kind is ClusterKind.CONNECTED:
                client.close(timeout=2)
            raise
        self._replace(cluster)
        return cluster

    def _replace(self, cluster: Cluster) -> None:
        if self._current is not None and self._current is not cluster:
            self._current.close()
        self._current = cluster

    def _with_plugins(self, cluster: Cluster) -> Cluster:
        client = cluster.client
        if isinstance(client, attach.SteadyClient) and client.has_new_scheduler:
            # it was started anew in the meantime
            plugins.install(client)
            client.has_new_scheduler = False
        return cluster

    def _regain(self, lost: Cluster) -> Cluster:
        """Return the cluster whose connection was lost, if it answers again: a job must not go to another by itself."""
        client = lost.client
        ends = time.monotonic() + _REGAIN_WITHIN_S
        while client.status == "connecting" and time.monotonic() < ends:
            time.sleep(0.05)
        if lost.is_usable:
            return self._with_plugins(lost)
        try:
            if client.status == "connecting" or not lost.address.startswith(("tcp://", "tls://")):
                raise ClusterError("it does not answer yet")
            if lost.address.startswith("tcp://"):
                attach.check_reachable(lost.address, None)
            new = attach.connect(lost.address, None, security=client.security)
        except ClusterError as error:
            raise ClusterError(
                f"the connection to the cluster at {lost.address} is lost: connect again with %cluster connect "
                f"{lost.address} when it answers, or leave it with %cluster stop, and jobs use the embedded cluster"
            ) from error
        return self._adopt(new, ClusterKind.CONNECTED, lost.address, lost.owner)


def _proves_alive(client: Client) -> bool:
    return not isinstance(client, attach.SteadyClient) or client.proves_alive()


def _check_embedded(connection: Connection) -> None:
    where, remedy = "the embedded cluster", "end it with %cluster stop; the next job starts a new one"
    versions.compare(versions.installed(), connection.versions, where, remedy)
    if connection.prefix != sys.prefix:
        raise VersionMismatchError(
            f"{where} of {connection.home} runs the Python of {connection.prefix}, this kernel that of {sys.prefix}: "
            f"{remedy}, or give each environment its own HOPS_HOME"
        )


def _gone(connection: Connection) -> bool:
    deadline = time.monotonic() + 2
    while connection.process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not connection.process.is_alive()


def _address(client: Client) -> str:
    return str(client.scheduler.address) if client.scheduler is not None else ""


def _dashboard(client: Client) -> str:
    try:
        return str(client.dashboard_link or "")
    except (AttributeError, KeyError, TypeError):
        # cluster objects of other packages compute it from their own settings
        return ""
