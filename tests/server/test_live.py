"""A run that another process starts is heard of, followed and stopped through the server."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import requests
import websocket
from waiting import wait_until

SCRIPT = """
import hops_magic as hops

def train():
    import time
    for step in range(3000):
        hops.report(step=step, loss=1 / (1 + step))
        time.sleep(0.02)

handle = hops.train(train, workers=1, framework="none", name="slow", detach=True)
print(handle.run_id, flush=True)
"""


STUDY = """
import hops_magic as hops

cell = '''
import time
import hops_magic as hops
print("x is", x)
for step in range(3000):
    hops.report(step=step, loss=x / (1 + step))
    time.sleep(0.02)
'''
options = dict(minimize="loss", search="grid", trials=1, framework="none", name="slow study", namespace={}, detach=True)
handle = hops.tune(cell, {"x": hops.grid([1])}, **options)
print(handle.run_id, flush=True)
"""


@pytest.fixture(scope="module")
def cluster(server):
    """A cluster of one worker, started and ended through the API."""
    answer = server.ask("/cluster/start", "POST", json={"workers": 1, "threads": 1})
    assert answer.status_code == 200, answer.text
    yield answer.json()
    stopped = server.ask("/cluster/stop", "POST", json={"force": True})
    assert stopped.json() == {**stopped.json(), "is_running": False}


def started(server, script: str) -> str:
    """Start a run in another process; return its id."""
    told = subprocess.run(
        [sys.executable, "-c", script], env=server.environment, capture_output=True, text=True, timeout=120, check=True
    )
    return told.stdout.split()[-1]


def test_a_run_is_followed_and_stopped(server, cluster):
    assert server.get("/changes")["seq"] >= 0
    events = f"{server.url.replace('http', 'ws')}/api/events/subscribe"
    stream = websocket.create_connection(events, header=[f"Authorization: token {server.token}"], timeout=60)
    run_id = started(server, SCRIPT)

    def heard(topic: str) -> dict:
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            event = json.loads(stream.recv())
            if event["schema_id"].endswith("hops-magic.dev/events/changed") and topic in event["topics"]:
                return event
        raise AssertionError(f"nothing was said of {topic}")

    first = heard(f"run/{run_id}")
    cluster = server.get("/cluster")
    assert [run["run_id"] for run in cluster["runs"]] == [run_id]
    wait_until(lambda: server.get("/cluster")["slots_free"] < cluster["slots"], "the run's slots")

    def in_ranks() -> list[dict]:
        figures = [worker["in_ranks"] for worker in server.get("/cluster")["workers"]]
        return [each for each in figures if each["memory_bytes"]]

    (used,) = wait_until(in_ranks, "what the rank uses")
    assert used["ranks"] == 1
    assert used["cpu_percent"] >= 0
    # Dask's own pages, through the server and with its sign-in
    proxied = f"{server.url}/{cluster['dashboard_proxy']}"
    assert requests.get(proxied, timeout=30, allow_redirects=False).status_code in (302, 403)
    signed = {"Authorization": f"token {server.token}"}
    wait_until(lambda: requests.get(proxied, headers=signed, timeout=30).status_code == 200, "Dask's pages")
    cursor, curves = "", []
    while len(curves) < 2:
        heard(f"run/{run_id}")
        live = server.get(f"/runs/{run_id}/live", cursor=cursor)
        cursor = live["cursor"]
        assert all("remaining_s" in update["head"] for update in live["updates"] if update["reset"])
        curves += [curve for update in live["updates"] for curve in update.get("curves", ())]
    # only what is new comes
    assert curves[1]["at"] >= len(curves[0]["steps"]) - 1
    # the record begins while ranks do
    (row,) = wait_until(lambda: server.get("/runs", text="slow")["items"], "the run's record")
    assert (row["state"], row["can_stop"]) == ("running", True)
    assert server.get("/changes", boot=first["boot"], since=first["seq"])["topics"]
    assert server.ask(f"/runs/{run_id}/stop", "POST").status_code == 202
    ends = time.monotonic() + 60
    while not server.get(f"/runs/{run_id}/live")["is_final"]:
        heard(f"run/{run_id}")
        assert time.monotonic() < ends
    assert server.get(f"/runs/{run_id}")["state"] == "stopped"
    stream.close()


def test_a_cluster_is_scaled_and_says_what_it_cannot(server, cluster):
    assert [worker["slots_free"] for worker in cluster["workers"]] == [1]
    again = server.ask("/cluster/start", "POST", json={})
    assert (again.status_code, again.json()["address"]) == (200, cluster["address"])
    scaled = server.ask("/cluster/scale", "POST", json={"workers": 2})
    assert (scaled.status_code, len(scaled.json()["workers"])) == (200, 2)
    wait_until(lambda: server.get("/cluster")["slots"] == 2, "the second worker's slots")
    assert server.ask("/cluster/scale", "POST", json={"workers": 0}).json()["parameter"] == "workers"


def test_a_trial_is_looked_into_and_stopped(server, cluster):
    study_id = started(server, STUDY)

    def trial() -> dict:
        answer = server.ask(f"/runs/{study_id}/trials/0")
        return answer.json() if answer.ok else {}

    opened = wait_until(lambda: (trial().get("curves") and trial()) or None, "the trial's first metrics")
    assert (opened["trial"], opened["curves"][0]["metric"]) == (0, "loss")
    assert wait_until(lambda: "".join(text for _, text in trial()["output"]), "the trial's output").startswith("x is 1")
    assert server.ask(f"/runs/{study_id}/trials/7").status_code == 404
    assert server.ask(f"/runs/{study_id}/trials/0/stop", "POST").status_code == 202
    wait_until(lambda: server.get(f"/runs/{study_id}/live")["is_final"], "the study's end")
    (row,) = server.get("/runs", parent=study_id)["items"]
    assert (row["kind"], row["state"]) == ("trial", "stopped")
    # of a study that has ended, from its record
    assert trial()["curves"][0]["values"][0] == opened["curves"][0]["values"][0]
    assert server.ask("/runs/good/trials/0").status_code == 400
