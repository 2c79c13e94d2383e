"""Every address answers with what the stores hold."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest


def test_groups_are_listed_searched_and_shown(server):
    page = server.get("/groups")
    assert [group["full_name"] for group in page["items"]] == ["stadiums@1", "teams@1"]
    assert page["total"] == 2
    assert server.get("/groups", limit=1, offset=1, fields="name,rows") == {
        "items": [{"name": "teams", "rows": 400}],
        "total": 2,
    }
    assert [group["name"] for group in server.get("/groups", text="TEA")["items"]] == ["teams"]
    (hit,) = server.get("/search", text="budg")["items"]
    assert (hit["full_name"], hit["text"][hit["start"] : hit["end"]]) == ("teams.budget", "budg")
    whole = server.get("/search", text="team")
    assert whole["total"] == len(whole["items"]) > 2
    assert server.get("/search", text="team", limit=1, offset=1) == {"items": whole["items"][1:2], "total": whole["total"]}
    teams = server.get("/groups/teams@1")
    assert (teams["primary_key"], teams["versions"], teams["tags"]) == (["team_id"], [1], ["sport"])
    budget = {feature["name"]: feature for feature in teams["features"]}["budget"]
    assert budget["null_share"] == pytest.approx(0.1)
    assert sum(budget["sketch"]["counts"]) == 360
    assert teams["rules"] == ["not_null budget", "range wins 0 100"]


def test_commits_are_listed_and_compared(server):
    commits = server.get("/groups/teams/commits")["items"]
    assert [(commit["operation"], commit["rows_changed"]) for commit in commits] == [("upsert", 50), ("create", 0)]
    later, earlier = (commit["number"] for commit in commits)
    diff = server.get("/groups/teams/diff", before=earlier, after=later, limit=5)
    assert diff["counts"] == {"added": 0, "changed": 50, "removed": 0}
    assert (len(diff["changed"]["rows"]), diff["changed"]["total"]) == (5, 50)
    drift = server.get("/groups/teams/drift", before=earlier, after=later)
    verdicts = {column["name"]: column["verdict"] for column in drift["columns"]}
    assert verdicts["budget"] == "stable"
    assert verdicts["wins"] != "stable"


def test_rows_statistics_and_rules_of_a_group(server):
    page = server.get("/groups/teams/preview", sort="-wins", limit=3, columns=["team_id", "wins"])
    assert [column["name"] for column in page["columns"]] == ["team_id", "wins"]
    wins = [row[1] for row in page["rows"]]
    assert wins == sorted(wins, reverse=True)
    assert page["total"] == 400
    statistics = server.get("/groups/teams/statistics")["statistics"]
    assert statistics["rows"] == 400
    checked = server.get("/groups/teams/validation")
    assert [(result["passed"], result["failing"]) for result in checked["results"]] == [(False, 40), (True, 0)]
    assert checked["quarantined"] == 0


def test_what_is_said_of_a_group_is_changed(server):
    before = server.get("/changes")
    answer = server.ask("/groups/teams", "PATCH", json={"tags": ["sport", "weekly"]})
    assert answer.status_code == 200, answer.text
    assert server.get("/groups/teams")["tags"] == ["sport", "weekly"]
    missed = server.get("/changes", boot=before["boot"], since=before["seq"])
    assert not missed["reset"]
    assert "features" in missed["topics"]
    server.ask("/groups/teams", "PATCH", json={"tags": ["sport"]})


def test_reads_of_rows_may_come_together(server):
    (commit, *_) = (each["number"] for each in server.get("/groups/teams/commits")["items"])
    paths = [
        "preview",
        "statistics",
        f"diff?before={commit}",
        f"drift?before={commit}",
        "validation",
        "preview?sort=wins",
    ] * 3
    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(lambda path: server.ask(f"/groups/teams/{path}").status_code, paths)) == [200] * len(paths)


def test_datasets_tell_their_recipe_and_their_rows(server):
    (row,) = server.get("/datasets")["items"]
    assert row["full_name"] == "matches@1"
    assert sum(row["rows"].values()) == 400
    dataset = server.get("/datasets/matches")
    assert dataset["sources"][0]["full_name"] == "teams@1"
    assert server.get("/datasets/matches/preview", split="test", limit=2)["total"] == dataset["rows"]["test"]
    whole, later = (server.get("/datasets/matches/preview", split="train", offset=n, limit=9)["rows"] for n in (0, 4))
    assert (whole[4:], len(later)) == (later[:5], 9)
    assert server.get("/datasets/matches/preview", split="train", offset=10_000)["rows"] == []
    assert server.get("/datasets/matches/statistics", split="train")["statistics"]["rows"] == dataset["rows"]["train"]
    told = server.get("/explain", names=["teams.wins", "stadiums.seats"])
    assert told["columns"] == ["wins", "seats"]
    assert "teams@1" in told["groups"]
    refused = server.ask("/explain", params={"names": ["teams.wins", "stadiums.seats"], "on": "home"})
    assert (refused.status_code, refused.json()["parameter"]) == (400, "on")


def test_runs_are_listed_filtered_sorted_and_paged(server):
    page = server.get("/runs", fields="name,state,kind")
    assert [(run["state"], run["kind"]) for run in page["items"]] == [
        ("done", "study"),
        ("stopped", "run"),
        ("failed", "run"),
        ("done", "run"),
    ]
    assert [run["name"] for run in server.get("/runs", state="failed")["items"]] == ["bad"]
    assert [run["name"] for run in server.get("/runs", text="goo")["items"]] == ["good"]
    by_loss = server.get("/runs", sort="loss", filter="metrics.loss > 0")["items"]
    assert [run["metrics"]["loss"] for run in by_loss] == [0.3, 0.6, 1.5]
    first = server.get("/runs", limit=1)
    assert first["has_more"]
    assert server.get("/runs", limit=1, offset=1)["items"][0]["run_id"] != first["items"][0]["run_id"]
    assert [each["name"] for each in server.get("/experiments")["items"]] == ["digits"]


def test_a_run_tells_all_that_its_record_holds(server):
    run = server.get("/runs/good")
    assert run["run_id"] == "aaaa00000001"
    assert run["leading"]["values"] == [0.9, 0.5, 0.3]
    assert run["cell"] == "%%distributed --name good\nmodel.fit(x, y)\n"
    assert [each["full_name"] for each in run["inputs"]] == ["matches@1"]
    assert run["models"] == [{"name": "digits", "version": 1}]
    (course,) = server.get("/runs/good/metrics", names=["loss"])["items"]
    assert (course["steps"], course["values"]) == ([1, 2, 3], [0.9, 0.5, 0.3])
    assert server.get("/runs/good/source")["text"] == "model.fit(x, y)\n"
    assert server.get("/runs/good/output") == {"text": "", "start": 0, "end": 0, "total": 0}
    assert "because" in server.get("/runs/bad")["reason"]


def test_an_ended_run_is_followed_from_its_journal(server):
    live = server.get("/runs/good/live")
    assert (live["kind"], live["is_final"]) == ("run", True)
    (update,) = live["updates"]
    assert update["head"]["state"] == "done"
    assert update["curves"][0]["values"] == [0.9, 0.5, 0.3]
    assert server.get("/runs/good/live", cursor=live["cursor"])["updates"] == []
    # a cursor that nobody knows begins anew
    assert server.get("/runs/good/live", cursor="0123.9")["updates"][0]["reset"]
    assert server.get("/runs/search/live")["kind"] == "study"


def test_runs_are_compared(server):
    found = server.get("/compare", runs=["good", "bad"])
    assert found["params"]["lr"] == ["0.01", "10"]
    assert found["metrics"]["loss"] == [0.3, 1.5]
    assert found["source_diff"] == ""


def test_a_note_and_tags_of_a_run_are_changed(server):
    answer = server.ask("/runs/good", "PATCH", json={"note": "the one to beat", "tags": {"baseline": "", "author": "ada"}})
    assert answer.status_code == 200, answer.text
    row = server.get("/runs/good")
    assert (row["note"], row["tags"]) == ("the one to beat", {"baseline": "", "author": "ada"})
    server.ask("/runs/good", "PATCH", json={"tags": {"baseline": None, "gone": None}})
    row = server.get("/runs/good")
    assert (row["note"], row["tags"]) == ("the one to beat", {"author": "ada"})
    refused = server.ask("/runs/good", "PATCH", json={"tags": {"hops.state": "failed"}})
    assert refused.status_code == 400
    assert server.get("/runs/good")["state"] == "done"
    server.ask("/runs/good", "PATCH", json={"note": "", "tags": {"author": None}})


def test_a_deleted_run_comes_back(server):
    assert server.ask("/runs/bad", "DELETE").json() == {"run_ids": ["aaaa00000002"]}
    assert "bad" not in [run["name"] for run in server.get("/runs")["items"]]
    assert [run["name"] for run in server.get("/runs", deleted=True)["items"]] == ["bad"]
    assert server.ask("/runs/aaaa00000002/restore", "POST").json() == {"run_ids": ["aaaa00000002"]}
    assert "bad" in [run["name"] for run in server.get("/runs")["items"]]


def test_models_have_versions_and_aliases(server):
    (model,) = server.get("/models")["items"]
    assert (model["name"], model["aliases"]) == ("digits", {"champion": 1})
    assert server.ask("/models/digits/aliases/newest", "PUT", json={"version": 1}).status_code == 200
    (version,) = server.get("/models/digits/versions")["items"]
    assert version["aliases"] == ["champion", "newest"]
    assert version["run_name"] == "good"
    assert [(each["full_name"], each["features"]) for each in version["inputs"]] == [("matches@1", ["wins", "budget"])]
    assert server.ask("/models/digits/aliases/newest", "DELETE").status_code == 200
    assert server.get("/models")["items"][0]["aliases"] == {"champion": 1}


def test_lineage_is_walked_from_either_end(server):
    wanted = {"group:teams@1", "dataset:matches@1", "run:aaaa00000001", "model:digits/1"}
    for kind, name in (("group", "teams"), ("dataset", "matches@1"), ("run", "good"), ("model", "digits/1")):
        graph = server.get("/lineage", kind=kind, name=name)
        assert {node["id"] for node in graph["nodes"]} == wanted
        assert {(edge["source"], edge["target"]) for edge in graph["edges"]} == {
            ("group:teams@1", "dataset:matches@1"),
            ("dataset:matches@1", "run:aaaa00000001"),
            ("run:aaaa00000001", "model:digits/1"),
        }


def test_without_a_cluster_there_is_nothing_to_stop(server):
    assert server.get("/cluster", fields="is_running") == {"is_running": False}
    answer = server.ask("/runs/good/stop", "POST")
    assert answer.status_code == 400
    assert answer.json()["detail"] == "run good has ended (done): there is nothing to stop"


def test_what_there_is_not_is_told_with_what_is_near(server):
    answer = server.ask("/groups/tems")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert "did you mean teams?" in answer.json()["detail"]
    answer = server.ask("/groups", params={"limt": 3})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "'limt' is no parameter of this address: did you mean limit?"
    assert server.ask("/groups", params={"limit": 0}).json()["parameter"] == "limit"
    assert server.ask("/groups", params={"fields": "nme"}).status_code == 400
    assert server.ask("/nowhere").status_code == 404
    assert server.ask("/groups", "POST").status_code == 405
    assert server.ask("/models/digits/aliases/x", "PUT", json={"version": "two"}).json()["parameter"] == "version"
