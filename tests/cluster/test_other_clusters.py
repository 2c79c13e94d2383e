"""Clusters that are not ours: reached by address or file, or borrowed from the notebook."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster

from hops_magic.engine import security, versions
from hops_magic.engine.cluster import Clusters
from hops_magic.engine.connection import Connection
from hops_magic.engine.status import ClusterKind
from hops_magic.errors import ClusterError, OptionError, VersionMismatchError


@pytest.fixture(scope="session")
def local_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of the notebook, without TLS."""
    scratch = tmp_path_factory.mktemp("scratch")
    with (
        dask.config.set({"temporary-directory": str(scratch)}),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0) as cluster,
    ):
        yield cluster


@pytest.fixture
def tls(connection: Connection) -> dict[str, str]:
    """Credentials that the embedded cluster's scheduler accepts."""
    paths = connection.credentials()
    return {"tls_ca": paths.ca, "tls_cert": paths.cert, "tls_key": paths.key}


def test_connects_by_address_with_tls(clusters: Clusters, connection: Connection, tls: dict[str, str]) -> None:
    cluster = clusters.connect(connection.address, **tls)
    assert cluster is clusters.current()
    assert cluster.kind is ClusterKind.CONNECTED
    assert len(cluster.status().workers) == 2
    assert cluster.status().versions["distributed"] == versions.installed()["distributed"]
    with pytest.raises(ClusterError, match="was started elsewhere: add or remove workers there"):
        clusters.scale(3)
    # stopping only leaves it
    assert clusters.stop()
    assert connection.process.is_alive()


def test_connects_by_scheduler_file_with_tls(
    clusters: Clusters, connection: Connection, tls: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"type": "Scheduler", "address": connection.address}))
    assert clusters.connect(str(file), **tls).address == connection.address
    without_scheme = connection.address.removeprefix("tls://")
    assert clusters.connect(without_scheme, **tls).address == connection.address


def test_a_client_and_a_cluster_object_can_be_used(clusters: Clusters, local_cluster: LocalCluster) -> None:
    with Client(local_cluster, set_as_default=False) as client:
        assert clusters.use(client).kind is ClusterKind.BORROWED
        assert clusters.current().client is client
        clusters.close()
        assert client.status == "running"
    cluster = clusters.use(local_cluster)
    assert cluster.is_local
    assert [worker.slots for worker in cluster.status().workers] == [1]
    try:
        clusters.scale(2)
        local_cluster.wait_for_workers(2, timeout=30)
        assert len(cluster.status().workers) == 2
    finally:
        local_cluster.scale(1)


@pytest.mark.parametrize("thing", [None, 3, "tcp://127.0.0.1:1"])
def test_other_objects_are_refused(clusters: Clusters, thing: object) -> None:
    with pytest.raises(OptionError, match=r"cluster must be a distributed\.Client or a Dask cluster object"):
        clusters.use(thing)


def test_a_closed_client_is_refused(clusters: Clusters, local_cluster: LocalCluster) -> None:
    client = Client(local_cluster, set_as_default=False)
    client.close()
    with pytest.raises(ClusterError, match="the client is closed: make a new one"):
        clusters.use(client)


def test_without_credentials_nobody_comes_in(
    clusters: Clusters, connection: Connection, tls: dict[str, str], tmp_path: Path
) -> None:
    plain = connection.address.replace("tls://", "tcp://")
    with pytest.raises(ClusterError, match=r"speaks TLS: connect to tls://.* with --tls-ca, --tls-cert and --tls-key"):
        clusters.connect(plain)
    with pytest.raises(ClusterError, match=r"asks for credentials: add --tls-ca"):
        clusters.connect(connection.address)
    with pytest.raises(OSError, match=r"Timed out|in <"):
        Client(plain, timeout=2, set_as_default=False)
    stranger = security.generate(tmp_path)
    with pytest.raises(ClusterError, match=r"does not go with the TLS credentials \(certificate signature failure\)"):
        clusters.connect(connection.address, stranger.ca, stranger.cert, stranger.key)
    # who trusts the cluster, but is not trusted by it
    with pytest.raises(ClusterError, match=r"does not go with the TLS credentials .*: check --tls-ca and --tls-cert"):
        clusters.connect(connection.address, tls["tls_ca"], stranger.cert, stranger.key)


def test_certificates_that_have_expired_are_named(
    clusters: Clusters, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "_VALID_FOR", timedelta(minutes=-1))
    expired = security.generate(tmp_path)
    with pytest.raises(ClusterError, match="the certificate of --tls-ca has expired: renew it; check --tls-ca"):
        clusters.connect(connection.address, expired.ca, expired.cert, expired.key)


def test_a_key_of_another_certificate_and_an_authority_without_one_are_named(
    clusters: Clusters, connection: Connection, tls: dict[str, str], tmp_path: Path
) -> None:
    stranger = security.generate(tmp_path)
    with pytest.raises(ClusterError, match=r"the TLS key .* does not belong to the certificate "):
        clusters.connect(connection.address, tls["tls_ca"], tls["tls_cert"], stranger.key)
    with pytest.raises(ClusterError, match=r"the TLS file .*, which is to hold the authority, holds no certificate"):
        clusters.connect(connection.address, tls["tls_key"], tls["tls_cert"], tls["tls_key"])


def test_tls_to_a_plain_scheduler_is_named(clusters: Clusters, local_cluster: LocalCluster, tls: dict[str, str]) -> None:
    address = local_cluster.scheduler_address
    with pytest.raises(ClusterError, match="does not speak TLS: connect to tcp://"):
        clusters.connect(address.replace("tcp://", "tls://"), **tls)
    with pytest.raises(ClusterError, match="is not encrypted, but TLS credentials are given"):
        clusters.connect(address, **tls)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("tcp://127.0.0.1:1", r"no scheduler answers at tcp://127\.0\.0\.1:1 \(Connection refused\): check the address"),
        ("tcp://no.such.host.invalid:8786", r"no scheduler answers at tcp://no\.such\.host\.invalid:8786 \("),
        # a network for documentation: packets vanish
        ("tcp://192.0.2.1:8786", r"no scheduler answers at tcp://192\.0\.2\.1:8786 \("),
        ("tcp://nowhere", "is no address of a scheduler: write tcp://host:port"),
        ("bogus://1.2.3.4:5", "the scheduler at bogus://1.2.3.4:5 cannot be reached: unknown address scheme 'bogus'"),
        ("/no/such/file.json", "is neither an address such as tcp://host:8786 nor a scheduler file that exists"),
    ],
)
def test_what_cannot_be_reached_is_one_sentence_within_seconds(clusters: Clusters, target: str, sentence: str) -> None:
    began = time.monotonic()
    with pytest.raises(ClusterError, match=sentence) as caught:
        clusters.connect(target)
    assert time.monotonic() - began < 8
    assert "\n" not in str(caught.value)


def test_a_file_without_an_address_is_named(clusters: Clusters, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text("{}")
    with pytest.raises(ClusterError, match="is no scheduler file: it names no address"):
        clusters.connect(str(file))


def test_half_of_the_credentials_is_named(clusters: Clusters, connection: Connection, tls: dict[str, str]) -> None:
    with pytest.raises(ClusterError, match="TLS needs both an authority and a certificate: add --tls-cert"):
        clusters.connect(connection.address, tls_ca=tls["tls_ca"])
    with pytest.raises(ClusterError, match=r"the TLS file /no/cert\.pem does not exist"):
        clusters.connect(connection.address, tls_ca=tls["tls_ca"], tls_cert="/no/cert.pem")


@pytest.mark.parametrize("component", ["dask", "cloudpickle", "tensorflow", "hops_magic"])
def test_other_versions_there_are_named(
    clusters: Clusters, local_cluster: LocalCluster, component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {**versions.installed(), component: "0.0.1"}
    monkeypatch.setattr(versions, "installed", lambda: here)
    sentence = f"of the cluster at tcp://.* runs {component} .*, this kernel {component} 0.0.1: make the environments"
    with pytest.raises(VersionMismatchError, match=sentence):
        clusters.use(local_cluster)
    assert clusters.in_use is None


def test_no_job_goes_to_another_cluster_by_itself(clusters: Clusters, tmp_path: Path) -> None:
    with (
        dask.config.set({"temporary-directory": str(tmp_path)}),
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as going,
    ):
        address = going.scheduler_address
        clusters.connect(address)
    for _ in range(2):
        with pytest.raises(ClusterError, match=f"connection to the cluster at {address} is lost: connect again"):
            clusters.current()
    assert clusters.stop()
    assert clusters.current().kind is ClusterKind.EMBEDDED
