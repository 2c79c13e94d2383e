"""Every endpoint, asked by whoever is not signed in, or by a page of another origin: nothing is answered or changed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
from tornado.web import create_signed_value

from hops_magic.api import endpoints
from hops_magic.api.routing import Endpoint, table

assert endpoints.__all__

TOKEN = "a-token-of-the-tests"
THINGS = {"run": "aaaa00000001", "group": "teams", "model": "digits", "alias": "x", "number": "0", "version": "1"}
THINGS |= {"dataset": "matches"}
EVIL = {"Origin": "http://evil.example", "Referer": "http://evil.example/page"}
# what those who ask without a right know of the request, beside its address
NOBODIES = {
    "nobody": {},
    "a wrong token": {"Authorization": "token wrong"},
    "the token of another server": {"Authorization": f"token {secrets.token_hex(24)}"},
    "an empty token": {"Authorization": "token "},
    "a token of another kind": {"Authorization": f"Basic {TOKEN}"},
    "a claim to be on this machine": {"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "Host": "localhost"},
    "a claim to be somebody": {"X-Forwarded-User": "root", "Remote-User": "root", "X-Hops-User": "root"},
}


def address(server, endpoint: Endpoint) -> str:
    return f"{server.url}/hops/api/v1" + re.sub(r"\{(\w+)\}", lambda found: THINGS[found[1]], endpoint.path)


def accepted(server, browser: requests.Session, headers: dict[str, str], **options) -> list[str]:
    """Ask for everything; return what was not refused before it was looked at."""
    found = []
    for endpoint in options.pop("of", table.endpoints):
        body = None if endpoint.is_read_only else {}
        answer = browser.request(
            endpoint.method, address(server, endpoint), headers=headers, json=body, timeout=60, **options
        )
        told = answer.json()
        was_refused = told["type"] == "problems/not-authenticated" or told["detail"] == "the request was refused"
        if answer.status_code not in (401, 403, 404) or not was_refused:
            found.append(f"{endpoint.method} {endpoint.path}: {answer.status_code} {answer.text[:100]}")
    return found


@pytest.fixture
def signed_in(server) -> Iterator[requests.Session]:
    """A browser whose user has signed in, and which holds the cookie that a page of the server must repeat."""
    with requests.Session() as browser:
        assert browser.get(f"{server.url}/login", timeout=60).ok
        assert browser.get(f"{server.url}/api/status?token={TOKEN}", timeout=60).ok
        assert "_xsrf" in browser.cookies
        yield browser


CHANGING = [endpoint for endpoint in table.endpoints if not endpoint.is_read_only]


def test_a_page_of_the_server_may_ask(server, signed_in: requests.Session) -> None:
    repeated = {"X-XSRFToken": signed_in.cookies["_xsrf"], "Origin": server.url}
    assert signed_in.get(f"{server.url}/hops/api/v1/about", headers=repeated, timeout=60).ok
    answer = signed_in.post(f"{server.url}/hops/api/v1/runs/nothing/stop", headers=repeated, json={}, timeout=60)
    assert answer.json()["type"] == "problems/not-found"


@pytest.mark.parametrize("headers", NOBODIES.values(), ids=NOBODIES)
def test_nobody_who_has_not_signed_in_is_answered(server, headers: dict[str, str]) -> None:
    with requests.Session() as browser:
        assert accepted(server, browser, headers) == []


def test_a_token_in_the_address_must_be_right(server) -> None:
    with requests.Session() as browser:
        assert accepted(server, browser, {}, params={"token": "wrong"}) == []


def test_a_cookie_of_another_server_signs_nobody_in(server) -> None:
    name = f"username-127-0-0-1-{urlsplit(server.url).port}"
    with requests.Session() as browser:
        browser.cookies.set(name, create_signed_value("another secret", name, '{"username": "somebody"}').decode())
        assert accepted(server, browser, {}) == []


@pytest.mark.parametrize("repeated", [None, "wrong", "2|00000000|00000000000000000000000000000000|1"])
def test_a_browser_that_is_made_to_ask_changes_nothing(server, signed_in: requests.Session, repeated: str | None) -> None:
    headers = {} if repeated is None else {"X-XSRFToken": repeated}
    assert accepted(server, signed_in, headers, of=CHANGING) == []


def test_a_page_of_another_origin_is_not_answered(server, signed_in: requests.Session) -> None:
    assert accepted(server, signed_in, EVIL | {"X-XSRFToken": signed_in.cookies["_xsrf"]}) == []


@pytest.mark.parametrize("told", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_question_is_never_taken_for_a_change(server, told: str) -> None:
    for endpoint in CHANGING:
        path = address(server, endpoint).partition("/hops/api/v1")[2]
        answer = server.ask(path, headers={told: endpoint.method}, params={"_method": endpoint.method})
        is_read = any(each.is_read_only and each.pattern.fullmatch(path) for each in table.endpoints)
        assert answer.status_code in ((200, 400, 404) if is_read else (405,)), endpoint.path


def test_forms_change_nothing(server, signed_in: requests.Session) -> None:
    """A page of any origin can have a browser send a form; also if it had come by the number that ours repeats."""
    for endpoint in CHANGING:
        form = {"_xsrf": signed_in.cookies["_xsrf"]}
        answer = signed_in.request(endpoint.method, address(server, endpoint), data=form, timeout=60)
        assert answer.status_code == 415, (endpoint.path, answer.text)
