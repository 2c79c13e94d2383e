"""Servers that tests start for themselves: PostgreSQL on a socket of its own, an S3 endpoint on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from waiting import wait_until


class Postgres:
    """A PostgreSQL server of the test's own, on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.bin = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        # PostgreSQL refuses to run as root
        self.user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if self.user:
            shutil.chown(folder, "postgres", "postgres")
        self.run("initdb", "-D", str(self.data), "-U", "hops", "-A", "trust", "--no-sync")

    def run(self, program: str, *words: str) -> None:
        command = [str(self.bin / program), *words]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self.user)

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off"
        self.run("pg_ctl", "-D", str(self.data), "-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.data), "-w", "-m", "immediate", "stop")

    @property
    def uri(self) -> str:
        return f"postgresql://hops:s3cret@/postgres?host={self.folder}"


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server that has just been started; it is gone afterwards."""
    # a socket's path must be short, and the server's user must get there
    folder = Path(tempfile.mkdtemp(prefix="hops-pg-", dir="/tmp"))
    folder.chmod(0o755)
    server = Postgres(folder)
    server.start()
    try:
        yield server
    finally:
        subprocess.run(
            [str(server.bin / "pg_ctl"), "-D", str(server.data), "-m", "immediate", "stop"],
            check=False,
            capture_output=True,
            cwd="/",
            **server.user,
        )
        shutil.rmtree(folder)


class ObjectStore:
    """An S3 endpoint (SeaweedFS): it checks secrets and honours conditional writes."""

    key, secret, bucket = "hops-key", "hops-s3cret", "lake"

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a user sets to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }


@contextlib.contextmanager
def running_object_store(folder: Path) -> Iterator[ObjectStore]:
    """An endpoint that has just been started, with an empty bucket; it is gone afterwards."""
    import sysconfig

    ports = _free_ports(8)
    store = ObjectStore(ports[0])
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    keys = [{"accessKey": store.key, "secretKey": store.secret}]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [{"name": "tests", "credentials": keys, "actions": actions}]}))
    names = (
        "s3.port",
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
    )
    words = [f"-{name}={port}" for name, port in zip(names, ports, strict=True)]
    command = [
        str(Path(sysconfig.get_path("scripts")) / "weed"),
        f"-logdir={folder}",
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3",
        f"-s3.config={config}",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=40",
        "-master.telemetry=false",
        # services with ports of their own, the same on every machine
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *words,
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={**os.environ, "TMPDIR": str(folder)})
    try:
        wait_until(lambda: server.poll() is not None or _has_bucket(store), "the endpoint answers")
        assert server.poll() is None, (folder / "log").read_text()[-2000:]
        yield store
    finally:
        server.kill()
        server.wait()
        # it puts sockets beside the folder that it was given
        for port in ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _has_bucket(store: ObjectStore) -> bool:
    from pyarrow.fs import S3FileSystem

    try:
        S3FileSystem(
            access_key=store.key,
            secret_key=store.secret,
            endpoint_override=store.endpoint,
            region="us-east-1",
            allow_bucket_creation=True,
            request_timeout=5,
            connect_timeout=1,
        ).create_dir(store.bucket)
    except OSError:
        return False
    return True
