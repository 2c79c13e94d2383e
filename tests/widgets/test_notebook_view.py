"""The widget's end in a real kernel, with a client in the browser's place."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

BEGIN = """
import threading
from hops_magic.runs import events as ev
from hops_magic.runs.run import Run, advance
from hops_magic.runs.states import RunState
from hops_magic.widgets import open_view
stop = threading.Event()
run = Run(run_id="run-1", name="digits")
"""
BLOCK = """
view = open_view(run, on_stop=stop.set, report_html="<b>report</b>")
assert stop.wait(30), "no stop came"
run = advance(run, ev.StateChanged(state=RunState.STOPPED))
view.close(run)
"""
STUDY = """
from hops_magic.runs.study import Study, advance_study
from hops_magic.widgets import open_study_view
stop.clear()
stopped = []
study = advance_study(Study(run_id="s", metric="loss", names=("x",)), ev.TrialStarted(trial=0, values={"x": 1}, point={}))
calls = {"on_stop": stop.set, "on_stop_trial": stopped.append, "fetch_trial": lambda number: None}
view = open_study_view(study, importance=None, **calls)
assert stop.wait(30), "no stop came"
view.close(advance_study(study, ev.StateChanged(state=RunState.STOPPED)))
"""
FORGED = [
    {},
    {"type": None},
    {"type": ["stop"]},
    {"type": "stop-trial"},
    *(
        {"type": kind, "trial": trial}
        for kind in ("stop-trial", "open")
        for trial in (7, -1, True, False, "0", None, [0], 10**30)
    ),
    {"type": "request", "page": "p", "id": 1, "method": "DELETE", "path": "/runs/s"},
]
DEADLINE_S = 30
RUN_TYPE = "application/vnd.hops.run.v1+json"


@pytest.fixture(scope="module")
def kernel() -> Iterator[BlockingKernelClient]:
    manager, client = start_new_kernel(kernel_name="python3")
    client.execute_interactive(BEGIN, timeout=DEADLINE_S)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def messages(client: BlockingKernelClient, request: str) -> Iterator[dict[str, Any]]:
    """What the kernel says, until the request is done."""
    ends = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends:
        message = client.get_iopub_msg(timeout=DEADLINE_S)
        is_mine = message["parent_header"].get("msg_id") == request
        if is_mine and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return
        yield message
    raise AssertionError("the cell did not end")


def answer(client: BlockingKernelClient, comm_id: str, content: dict[str, Any]) -> None:
    body = {"comm_id": comm_id, "data": {"method": "custom", "content": content}}
    client.shell_channel.send(client.session.msg("comm_msg", body))


def test_a_busy_kernel_hears_the_browser(kernel: BlockingKernelClient) -> None:
    kernel.execute_interactive("stop.clear()", timeout=DEADLINE_S)
    request = kernel.execute(BLOCK)
    comm_id, updates, last = "", [], {}
    for message in messages(kernel, request):
        content = message["content"]
        if message["msg_type"] == "comm_open" and "_esm" in content["data"]["state"]:
            comm_id = content["comm_id"]
        elif message["msg_type"] == "display_data":
            # a browser that opens the view asks for what it missed
            answer(kernel, comm_id, {"type": "ready"})
        elif message["msg_type"] == "comm_msg" and content["data"]["method"] == "custom":
            updates.append(content["data"]["content"])
            if len(updates) == 1:
                answer(kernel, comm_id, {"type": "stop"})
        elif message["msg_type"] == "update_display_data":
            last = content["data"]
        assert message["msg_type"] != "error", message["content"]
    assert updates[0]["reset"]
    assert updates[0]["head"]["report_html"] == "<b>report</b>"
    assert any(update["head"].get("is_stop_requested") for update in updates)
    assert updates[-1]["head"]["state"] == "stopped"
    assert set(last) == {"text/html", "text/plain"}


def test_a_kernel_that_answers_in_mid_cell_is_still_busy(kernel: BlockingKernelClient) -> None:
    kernel.execute_interactive("stop.clear(); run = Run(run_id='run-2')", timeout=DEADLINE_S)
    request = kernel.execute(BLOCK)
    comm_id, said, answers = "", [], 0
    for message in messages(kernel, request):
        if message["msg_type"] == "comm_open" and "_esm" in message["content"]["data"]["state"]:
            comm_id = message["content"]["comm_id"]
        elif message["msg_type"] == "display_data":
            answer(kernel, comm_id, {"type": "ready"})
        elif message["msg_type"] == "status":
            said.append((message["content"]["execution_state"], message["parent_header"].get("msg_type")))
            answers += said[-1] == ("idle", "comm_msg")
            if answers and said[-1] == ("busy", "execute_request"):
                answer(kernel, comm_id, {"type": "stop"})
    assert answers >= 1
    for now, after in itertools.pairwise(said):
        if now == ("idle", "comm_msg"):
            assert after == ("busy", "execute_request")


def test_a_page_sets_nothing_and_stops_no_trial_that_it_is_not_shown(kernel: BlockingKernelClient) -> None:
    request = kernel.execute(STUDY)
    for message in messages(kernel, request):
        assert message["msg_type"] != "error", message["content"]
        if message["msg_type"] == "comm_open" and "_esm" in message["content"]["data"]["state"]:
            comm_id = message["content"]["comm_id"]
        elif message["msg_type"] == "display_data":
            state = {"method": "update", "state": {"_esm": "forged", "_css": "forged"}, "buffer_paths": []}
            kernel.shell_channel.send(kernel.session.msg("comm_msg", {"comm_id": comm_id, "data": state}))
            for forged in FORGED:
                answer(kernel, comm_id, forged)
            for real in ({"type": "stop-trial", "trial": 0}, {"type": "stop"}):
                answer(kernel, comm_id, real)
    # messages of state wait for the end of the cell
    told = kernel.execute(
        "from ipywidgets import Widget\nstopped, any('forged' in getattr(w, '_esm', '') for w in Widget.widgets.values())"
    )
    said = [m["content"]["data"]["text/plain"] for m in messages(kernel, told) if m["msg_type"] == "execute_result"]
    assert said == ["([0], False)"]


def test_nothing_is_sent_before_a_browser_asks(kernel: BlockingKernelClient) -> None:
    code = "with open_view(run, on_stop=stop.set) as view:\n    view.update(advance(run, ev.Warned(message='w')))"
    said = list(messages(kernel, kernel.execute(code)))
    opened = {m["content"]["comm_id"] for m in said if m["msg_type"] == "comm_open"}
    sent = [m["content"] for m in said if m["msg_type"] == "comm_msg" and m["content"]["comm_id"] in opened]
    assert not [content for content in sent if content["data"]["method"] == "custom"]
    assert "w" in said[-1]["content"]["data"]["text/html"]


def test_whenever_a_notebook_is_saved_it_holds_a_page_of_the_run(kernel: BlockingKernelClient) -> None:
    kernel.execute_interactive("stop.clear()", timeout=DEADLINE_S)
    busy = """
    from hops_magic.widgets import live_widget, saved_output
    live_widget.ALIVE_EVERY_S, saved_output.FIRST_RENEWAL_S = 0.1, 0.5
    run = Run(run_id="run-1", name="digits")
    view = open_view(run, on_stop=stop.set, report_html="<b>report</b>")
    for step in range(10_000):
        view.update(advance(run, ev.Warned(message=f"step {step}")))
        if stop.wait(1.3):
            break
    view.close(advance(run, ev.StateChanged(state=RunState.STOPPED)))
    """
    shown, kinds, comm_id = [], set(), ""
    for message in messages(kernel, kernel.execute(busy.replace("\n    ", "\n"))):
        content = message["content"]
        if message["msg_type"] == "comm_open" and "_esm" in content["data"]["state"]:
            comm_id = content["comm_id"]
        elif message["msg_type"] in ("display_data", "update_display_data"):
            shown.append(content)
            answer(kernel, comm_id, {"type": "stop" if len(shown) == 3 else "ready"})
        elif message["msg_type"] == "comm_msg" and content["data"]["method"] == "custom":
            kinds.add(content["data"]["content"]["type"])
        assert message["msg_type"] != "error", message["content"]
    first, *_, last = shown
    told = [content["data"][RUN_TYPE] for content in shown[:-1]]
    assert set(first["data"]) == {RUN_TYPE, "application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert [each["number"] for each in told] == list(range(len(told)))
    assert {each["display_id"] for each in told} == {content["transient"]["display_id"] for content in shown}
    assert (told[0]["run_id"], told[0]["kind"], told[0]["report_html"]) == ("run-1", "run", "<b>report</b>")
    assert "step" in shown[1]["data"]["text/html"]
    assert set(last["data"]) == {"text/html", "text/plain"}
    # a browser tells a kernel that is silent from one that is gone
    assert "alive" in kinds


def test_a_view_that_closes_before_its_run_has_ended_leaves_it_to_the_page(kernel: BlockingKernelClient) -> None:
    said = list(messages(kernel, kernel.execute('open_view(Run(run_id="run-2"), on_stop=stop.set).close()')))
    last = [m["content"]["data"] for m in said if m["msg_type"] == "update_display_data"][-1]
    assert last[RUN_TYPE]["run_id"] == "run-2"


def test_without_the_bundle_pictures_are_shown(kernel: BlockingKernelClient) -> None:
    code = """
    import hops_magic.widgets.notebook as notebook
    from pathlib import Path
    bundle, notebook._BUNDLE = notebook._BUNDLE, Path("/nowhere")
    with open_view(run, on_stop=stop.set) as view:
        view.update(run)
    notebook._BUNDLE = bundle
    """
    said = list(messages(kernel, kernel.execute(code.replace("\n    ", "\n"))))
    assert not [m for m in said if m["msg_type"] in ("comm_open", "error")]
    assert "was not built" in next(m for m in said if m["msg_type"] == "display_data")["content"]["data"]["text/html"]
    assert "was not built" not in said[-1]["content"]["data"]["text/html"]


def test_views_in_text_import_no_widget_library() -> None:
    code = "import sys, hops_magic.widgets, hops_magic.widgets.text; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"anywidget", "ipywidgets", "IPython", "PIL", "numpy"} & set(loaded)
