"""Reach a Dask scheduler, and say in one sentence why it cannot be reached."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.comm import parse_host_port
from distributed.security import Security

from hops_magic.engine import versions
from hops_magic.engine.security import Credentials, has_expired
from hops_magic.errors import ClusterError

_CONNECT_WITHIN_S = 5.0
_PROBE_WITHIN_S = 2.0
_GREETED_WITHIN_S = 0.5
_LOOK_EVERY_S = 1.0
PROVE_EVERY_S = 5.0
"""How often a link is asked to prove that it carries anything: one that is cut off in silence looks like any other."""
PROVEN_WITHIN_S = 20.0
DOUBTED_AFTER_S = 10.0


def address_of(place: str, credentials: Credentials | None) -> str:
    """Return the address behind what the user wrote: an address, ``host:port``, or a scheduler file.

    Raises
    ------
    ClusterError
        If it is a file that names no address, or nothing of the kind.
    """
    place = place.strip()
    if "://" in place:
        return place
    path = Path(place).expanduser()
    if path.is_file():
        try:
            return str(json.loads(path.read_text())["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ClusterError(f"{place} is no scheduler file: it names no address") from error
    host, _, port = place.rpartition(":")
    if host and port.isdigit() and "/" not in place:
        return f"{'tls' if credentials else 'tcp'}://{place}"
    raise ClusterError(f"{place} is neither an address such as tcp://host:8786 nor a scheduler file that exists")


class SteadyClient(Client):
    """A client that looks for its scheduler until it answers again, and then hears what it had subscribed to.

    It notices a link that carries nothing any more, although no side was told that it is cut.

    Attributes
    ----------
    has_new_scheduler : bool
        Whether another scheduler has come in the place of the one it knew: it knows nothing of what ran.
    heard_at : float
        When the scheduler last proved to be there, seconds since the epoch.
    """

    has_new_scheduler = False
    heard_at = 0.0
    _proving: asyncio.Task[None] | None = None

    async def _start(self, *args: Any, **kwargs: Any) -> None:
        await super()._start(*args, **kwargs)
        self.heard_at = time.time()
        self._proving = asyncio.create_task(self._prove_often())

    async def _close(self, *args: Any, **kwargs: Any) -> None:
        if self._proving is not None:
            self._proving.cancel()
        await super()._close(*args, **kwargs)

    @property
    def silent_since(self) -> float | None:
        """When the scheduler was last heard, if the connection is lost."""
        return self.heard_at if self.status == "connecting" else None

    def proves_alive(self, within_s: float = _CONNECT_WITHIN_S) -> bool:
        """Whether the link works: it was proven some seconds ago, or the scheduler answers; else it is given up."""
        if time.time() - self.heard_at < DOUBTED_AFTER_S:
            return True
        return bool(self.sync(self._prove, within_s))

    async def _prove_often(self) -> None:
        while True:
            await asyncio.sleep(PROVE_EVERY_S)
            if self.status == "running":
                await self._prove(PROVEN_WITHIN_S)

    async def _prove(self, within_s: float) -> bool:
        try:
            await asyncio.wait_for(self.scheduler.identity(n_workers=0), within_s)
        except TimeoutError:
            self._give_link_up()
            return False
        except (OSError, RuntimeError):
            return False  # it was told that it is cut, or is being closed
        self.heard_at = time.time()
        return True

    def _give_link_up(self) -> None:
        """Break what is cut off, so that all who wait on it learn of it, and a new link is looked for."""
        address = self.scheduler.address
        for comm in (*self.rpc.available.get(address, ()), *self.rpc.occupied.get(address, ())):
            comm.abort()
        self.rpc.remove(address, reason="the scheduler does not answer")
        link: Any = self.scheduler_comm
        if link is not None:
            link.comm.abort()

    async def _reconnect(self) -> None:
        known = self._scheduler_identity.get("id")
        self.scheduler_comm = None
        for state in self.futures.values():
            state.cancel(reason="scheduler-connection-lost", msg="the connection to the cluster was lost")
        self.futures.clear()
        while self.status == "connecting":
            try:
                await self._ensure_connected(timeout=_CONNECT_WITHIN_S)
            except ImportError:
                await self._close()  # it runs other versions now
            except OSError:
                await asyncio.sleep(_LOOK_EVERY_S)
        if self.status == "running":
            self.heard_at = time.time()
            self.has_new_scheduler = self._scheduler_identity.get("id") != known
            for topic in self._event_handlers:
                self._send_to_scheduler({"op": "subscribe-topic", "topic": topic, "client": self.id})


class EmbeddedClient(Client):
    """A client which does not look for a scheduler that has ended, and so does not complain of it in some later cell."""

    async def _reconnect(self) -> None:
        self.scheduler_comm = None
        for state in self.futures.values():
            state.cancel(reason="scheduler-connection-lost", msg="the embedded cluster has ended")
        await self._close()


def connect(
    address: str, credentials: Credentials | None, kind: type[Client] = SteadyClient, security: Security | None = None
) -> Client:
    """Return a client of the scheduler at ``address``.

    Parameters
    ----------
    security
        What another client of the scheduler used; ``credentials`` come first.

    Raises
    ------
    ClusterError
        If there is none, or it cannot be used.
    """
    security = credentials.security() if credentials else security
    try:
        return kind(address, security=security, timeout=_CONNECT_WITHIN_S, set_as_default=False, name="hops-kernel")
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError, ImportError) as error:
        cause = error.__cause__ or error
        raise ClusterError(f"the scheduler at {address} cannot be reached: {str(cause) or type(cause).__name__}") from error


def check(client: Client, where: str, remedy: str) -> dict[str, str]:
    """Compare versions of kernel, scheduler and workers; return the scheduler's.

    Raises
    ------
    VersionMismatchError
    ClusterError
        If hops_magic is missing there.
    """
    here = versions.installed()
    told: dict[str, Any] = client.get_versions(check=False)
    sides = {"the scheduler": told["scheduler"], **{f"worker {name}": side for name, side in told["workers"].items()}}
    for name, side in sides.items():
        packages = {key.replace("-", "_"): str(value) for key, value in side["packages"].items() if value}
        versions.compare(here, packages, f"{name} of {where}", remedy)
    probe = _probe()
    found: dict[str, Any] = {"the scheduler": client.run_on_scheduler(probe)}
    found |= {f"worker {name}": side for name, side in client.run(probe).items()}
    for name, packages in found.items():
        if "hops_magic" not in packages:
            raise ClusterError(f"{name} of {where} has no hops_magic: install hops_magic {here['hops_magic']} there")
        versions.compare(here, packages, f"{name} of {where}", remedy)
    scheduler: Mapping[str, str] = found["the scheduler"]
    return dict(scheduler)


def _probe() -> Any:
    names = ("hops_magic", "tensorflow", "keras", "dask", "distributed", "cloudpickle")

    # a nested function travels by value: the other side may have no hops_magic to import it from
    def packages() -> dict[str, str]:
        import importlib.metadata
        import importlib.util
        import platform

        found = {"python": platform.python_version()}
        for name in names:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                # ours may be used from its source folder
                if name == "hops_magic" and importlib.util.find_spec(name):
                    found[name] = importlib.import_module(name).__version__
        return found

    return packages


def check_reachable(address: str, credentials: Credentials | None) -> None:
    """Find out what speaks against a connection to ``address``, before Dask tries again and again until its time is over.

    Raises
    ------
    ClusterError
        If nothing answers, or one side speaks TLS and the other does not, or the credentials are refused.
    """
    scheme, _, rest = address.partition("://")
    if scheme not in ("tcp", "tls"):
        return  # of another package, which knows its own ways
    if scheme == "tcp" and credentials:
        raise ClusterError(
            f"{address} is not encrypted, but TLS credentials are given: write tls://{rest} or leave them out"
        )
    try:
        host, port = parse_host_port(rest)
        speaks_tls = _speaks_tls(host, port)
    except ValueError as error:
        raise ClusterError(f"{address} is no address of a scheduler: write {scheme}://host:port") from error
    except OSError as error:
        reason = error.strerror or "no answer"
        raise ClusterError(
            f"no scheduler answers at {address} ({reason}): check the address, and that the cluster is running"
        ) from error
    if scheme == "tcp" and speaks_tls:
        raise ClusterError(
            f"the scheduler at {address} speaks TLS: connect to tls://{rest} with --tls-ca, --tls-cert and --tls-key"
        )
    if scheme == "tls" and not speaks_tls:
        raise ClusterError(f"the scheduler at {address} does not speak TLS: connect to tcp://{rest}")
    if scheme == "tls":
        _check_accepted(address, host, port, credentials)


def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # asks only which protocol is spoken; nothing is sent
    with socket.create_connection((host, port), timeout=_GREETED_WITHIN_S) as plain:
        # a plain scheduler greets by itself; what is silent may be asked in TLS, for which a plain one would write an error
        # into its log
        with contextlib.suppress(TimeoutError):
            return not plain.recv(1)
        plain.settimeout(_PROBE_WITHIN_S)
        try:
            with context.wrap_socket(plain):
                return True
        except ssl.SSLError as error:
            # one that speaks TLS may refuse, but in TLS
            return error.reason not in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
        except (TimeoutError, ConnectionError):
            return False


def _check_accepted(address: str, host: str, port: int, credentials: Credentials | None) -> None:
    arguments = (credentials.security() if credentials else Security()).get_connection_args("client")
    context: ssl.SSLContext | None = arguments.get("ssl_context")
    if context is None:
        raise ClusterError(f"the scheduler at {address} asks for credentials: add --tls-ca, --tls-cert and --tls-key")
    try:
        with (
            socket.create_connection((host, port), timeout=_PROBE_WITHIN_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            # TLS 1.3 tells a client of its refused certificate only after the handshake
            wrapped.recv(1)
    except TimeoutError:
        return  # accepted, and busy
    except (ssl.SSLError, ConnectionError) as error:
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
        raise ClusterError(
            f"the scheduler at {address} does not go with the TLS credentials ({reason}): {_meaning(reason, credentials)}"
            "check --tls-ca and --tls-cert"
        ) from error


_EXPIRED = "certificate has expired"
_MEANINGS = {
    _EXPIRED: "the scheduler's certificate has expired: have it renewed there; ",
    "not yet valid": "its certificate is valid only later: compare the clocks of both machines; ",
    "ALERT_CERTIFICATE_EXPIRED": "the scheduler refuses the certificate of --tls-cert, which has expired: renew it; ",
    "UNKNOWN_CA": "the scheduler does not trust the authority that signed --tls-cert; ",
    "certificate signature failure": "its certificate is signed by another authority than --tls-ca; ",
    "unable to get local issuer certificate": "its certificate is signed by another authority than --tls-ca; ",
    "self-signed certificate": "its certificate is signed by another authority than --tls-ca; ",
    "mismatch": "its certificate is for another host; ",
}
"""What TLS says of a connection that is refused, and what it means here."""


def _meaning(reason: str, credentials: Credentials | None) -> str:
    for name, path in (("--tls-ca", credentials.ca), ("--tls-cert", credentials.cert)) if credentials else ():
        if has_expired(Path(path)):
            return f"the certificate of {name} has expired: renew it; "
    return next((words for part, words in _MEANINGS.items() if part in reason), "")
