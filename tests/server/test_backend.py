"""The threads of the server's end."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from waiting import in_a_loop

from hops_magic.api import endpoints
from hops_magic.api.encoding import encoded
from hops_magic.api.routing import table
from hops_magic.server.app import Backend

assert endpoints.__all__


def test_reads_that_last_leave_threads_to_what_is_answered_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HOPS_HOME", str(tmp_path / "home"))
    backend, released = Backend(lambda _: None), threading.Event()

    async def ask() -> str | None:
        reads = [asyncio.ensure_future(backend.work(lambda _: released.wait(60), is_slow=True)) for _ in range(20)]
        told, _ = await asyncio.wait_for(backend.answer("GET", "/about", {}), 60)
        released.set()
        assert all(await asyncio.gather(*reads))
        return told

    assert json.loads(in_a_loop(ask()))["registry"]
    backend.close()


@pytest.mark.parametrize("path", ["/groups/teams/preview", "/groups/teams/statistics", "/groups/a%2Fb/drift", "/lineage"])
def test_what_reads_rows_or_walks_far_waits_for_its_own_kind(path):
    assert table.is_slow("GET", path)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/runs"), ("GET", "/changes"), ("POST", "/runs/good/stop"), ("GET", "/x")]
)
def test_what_a_panel_needs_at_once_does_not_wait_for_it(method, path):
    assert not table.is_slow(method, path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_know_are_null(number):
    told = encoded({"a": [1.5, {"b": number}], number: (number, "NaN")})
    assert json.loads(told, parse_constant=pytest.fail) == {"a": [1.5, {"b": None}], str(number): [None, "NaN"]}
