"""``%cluster`` in a shell."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from IPython.core.interactiveshell import InteractiveShell

from hops_magic.engine.cluster import Clusters
from hops_magic.engine.connection import Connection
from hops_magic.errors import ClusterError, UsageError
from hops_magic.magics.cluster import ClusterMagics


@pytest.fixture
def shell(clusters: Clusters) -> InteractiveShell:
    shell = InteractiveShell()
    shell.register_magics(ClusterMagics(shell, SimpleNamespace(clusters=clusters)))
    return shell


def test_shows_the_cluster_in_use(shell: InteractiveShell, connection: Connection) -> None:
    shown = shell.run_line_magic("cluster", "")
    assert connection.address in repr(shown)
    assert "2 workers, 2 of 2 slots free" in repr(shown)
    assert connection.dashboard in shown._repr_html_()


def test_scales_uses_and_leaves(shell: InteractiveShell, connection: Connection, clusters: Clusters) -> None:
    assert "3 workers" in repr(shell.run_line_magic("cluster", "scale 3"))
    assert "2 workers" in repr(shell.run_line_magic("cluster", "scale 2"))
    paths = connection.credentials()
    flags = f"--tls-ca {paths.ca} --tls-cert {paths.cert} --tls-key {paths.key}"
    assert "connected cluster at" in repr(shell.run_line_magic("cluster", f"connect {connection.address} {flags}"))
    shell.user_ns["mine"] = clusters.current().client
    clusters._current = None
    assert "borrowed cluster at" in repr(shell.run_line_magic("cluster", "use mine"))
    shown = shell.run_line_magic("cluster", "stop")
    assert repr(shown) == f"left {connection.address}, which goes on"
    shell.user_ns["mine"].close()
    assert "embedded cluster at" in repr(shell.run_line_magic("cluster", "start"))


def test_will_not_end_under_runs(shell: InteractiveShell, clusters: Clusters) -> None:
    client = clusters.current().client
    info = {"name": "digits", "experiment": "", "world_size": 2}
    client.sync(client.scheduler.hops_submitted, run_id="r1", info=info, snapshot=b"", task="r1")
    try:
        with pytest.raises(ClusterError, match=r"runs are going on \(digits \(r1\)\): stop them first, or .* --force"):
            shell.run_line_magic("cluster", "stop")
        with pytest.raises(ClusterError, match=r"workers cannot be taken away while runs are going on \(digits\)"):
            shell.run_line_magic("cluster", "scale 1")
        assert clusters.current().is_usable
    finally:
        client.sync(client.scheduler.hops_forget, run_id="r1")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("bogus", "%cluster bogus: there is no such command; %cluster -h lists them"),
        ("start --wokers 2", "%cluster start: unrecognized arguments: --wokers 2; did you mean --workers?"),
        ("start -n two", "argument -n/--workers: invalid int value: 'two'"),
        ("start -n 0", "workers must be at least 1, got 0"),
        ("scale", "%cluster scale: the following arguments are required: workers"),
        ("use nobody", "%cluster use nobody: the notebook has no such name"),
        ("connect 'tcp", "%cluster connect 'tcp: No closing quotation"),
    ],
)
def test_bad_input_is_one_sentence(shell: InteractiveShell, line: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        shell.run_line_magic("cluster", line)
    assert sentence in str(caught.value)


def test_help_is_shown(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    assert "%cluster scale WORKERS" in repr(shell.run_line_magic("cluster", "-h"))
    assert shell.run_line_magic("cluster", "connect -h") is None
    assert "--tls-ca FILE" in capsys.readouterr().out
