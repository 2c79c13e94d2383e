"""Who may ask, what comes of evil requests, and what is never told."""

from __future__ import annotations

import json
import re

import pytest
import requests
from seeding import HOSTILE

from hops_magic.api import endpoints
from hops_magic.api.routing import table

assert endpoints.__all__

PREFIX = "/hops/api/v1"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "token wrong"}], ids=["no token", "a wrong token"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/groups"), ("POST", "/cluster/start"), ("GET", "/openapi.json")])
def test_nobody_asks_without_a_token(server, headers, method, path):
    answer = requests.request(method, server.url + PREFIX + path, headers=headers, timeout=30, allow_redirects=False)
    assert answer.status_code in (401, 403)
    assert "teams" not in answer.text


def test_a_browser_that_is_signed_in_needs_the_xsrf_cookie(server):
    browser = requests.Session()
    # a sign-in by address, as a browser does it
    assert browser.get(f"{server.url}/api/status?token=a-token-of-the-tests", timeout=30).status_code == 200
    assert browser.get(f"{server.url}{PREFIX}/about", timeout=30).status_code == 200
    stopped = browser.post(f"{server.url}{PREFIX}/cluster/stop", json={}, timeout=30)
    assert stopped.status_code == 403
    wrong = browser.post(f"{server.url}{PREFIX}/cluster/stop", json={}, headers={"X-XSRFToken": "wrong"}, timeout=30)
    assert wrong.status_code == 403


def test_another_origin_is_refused(server):
    browser = requests.Session()
    assert browser.get(f"{server.url}/api/status?token=a-token-of-the-tests", timeout=30).status_code == 200
    evil = {"Origin": "http://evil.example", "Referer": "http://evil.example/page"}
    for method, path in (("GET", "/groups"), ("POST", "/cluster/stop")):
        answer = browser.request(method, f"{server.url}{PREFIX}{path}", headers=evil, timeout=30)
        assert answer.status_code in (403, 404)
        assert "teams" not in answer.text
        assert "evil.example" not in answer.headers.get("Access-Control-Allow-Origin", "")


def test_the_servers_authorizer_says_who_may_read_and_who_may_write(server):
    read_only, blind = {"X-Denied": "write hops_magic"}, {"X-Denied": "read hops_magic"}
    assert server.ask("/groups", headers=read_only).status_code == 200
    for method, path in (
        ("PATCH", "/groups/teams"),
        ("PUT", "/models/digits/aliases/x"),
        ("POST", "/cluster/stop"),
        ("DELETE", "/runs/bad"),
    ):
        answer = server.ask(path, method, json={}, headers=read_only)
        assert (answer.status_code, answer.json()["type"]) == (403, "problems/not-allowed")
    answer = server.ask("/groups", headers=blind)
    assert answer.status_code == 403
    assert "teams" not in answer.text
    assert [run["name"] for run in server.get("/runs", text="bad")["items"]] == ["bad"]


def test_nothing_is_changed_by_who_may_only_read(server):
    things = {"run": "bad", "group": "teams", "model": "digits", "alias": "x", "number": "0", "version": "1"}
    for endpoint in table.endpoints:
        if not endpoint.is_read_only:
            path = re.sub(r"\{(\w+)\}", lambda found: things[found[1]], endpoint.path)
            answer = server.ask(path, endpoint.method, json={}, headers={"X-Denied": "write hops_magic"})
            assert (answer.status_code, answer.json()["type"]) == (403, "problems/not-allowed"), path
            nobody = requests.request(endpoint.method, server.url + PREFIX + path, json={}, timeout=30)
            assert nobody.status_code in (401, 403), path


EVIL = [
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "'; DROP TABLE hops_group_versions; --",
    '" OR 1=1 --',
    "teams@1; SELECT 1",
    "\x00",
    "<img src=x onerror=alert(1)>",
    "x" * 20_000,
    "\u202e\ud7ff",
]
PLACES = [
    "/groups/{}",
    "/groups/{}/preview",
    "/groups/{}/commits",
    "/datasets/{}",
    "/runs/{}",
    "/runs/{}/output",
    "/runs/{}/live",
    "/models/{}/versions",
]


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_evil_names_find_nothing(server, evil):
    quoted = requests.utils.quote(evil, safe="")
    for place in PLACES:
        answer = server.ask(place.format(quoted))
        assert answer.status_code in (400, 404, 414), (place, answer.status_code, answer.text[:200])
        assert "root:" not in answer.text
    for path, query in (
        ("/search", {"text": evil}),
        ("/runs", {"text": evil}),
        ("/runs", {"filter": evil}),
        ("/runs", {"sort": evil}),
        ("/runs", {"experiment": evil}),
        ("/groups", {"text": evil}),
        ("/groups/teams/preview", {"sort": evil}),
        ("/groups/teams/preview", {"columns": [evil]}),
        ("/explain", {"names": [evil]}),
        ("/lineage", {"kind": "run", "name": evil}),
    ):
        answer = server.ask(path, params=query)
        assert answer.status_code in (200, 400, 404, 409, 414), (path, answer.status_code, answer.text[:200])
    assert server.get("/groups")["total"] == 2


def test_names_come_back_as_data(server):
    answer = server.ask("/runs/aaaa00000003")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.json()["name"] == HOSTILE
    assert server.get("/groups/stadiums")["description"] == HOSTILE


def test_bodies_are_small_json_objects(server):
    path = "/groups/teams"
    assert server.ask(path, "PATCH", data="{").status_code == 400
    assert server.ask(path, "PATCH", json=[1]).status_code == 400
    assert server.ask(path, "PATCH", json={"rows": 3}).status_code == 400
    assert server.ask(path, "PATCH", data="a=b", headers={"Content-Type": "text/plain"}).status_code == 415
    assert server.ask(path, "PATCH", json={"description": "x" * 1_100_000}).status_code == 413


def test_secrets_are_not_told(server):
    about = json.dumps(server.get("/about"))
    assert "a-token-of-the-tests" not in about
    assert "a-token-of-the-tests" not in server.log.read_text()
