"""A server that ends idle kernels spares one whose cell runs; ended all the same, its run goes on."""

import pytest
from kernel_server import KernelServer
from kernels import DEADLINE_S
from waiting import wait_until

LOAD = "%load_ext hops_magic\nimport hops_magic as hops"
RUN = """%%distributed -n 1 --framework none --name {name}
import pathlib, time
pathlib.Path("{name}-began").touch()
while not pathlib.Path("{name}-may-end").exists(): time.sleep(0.02)
answer = "{name}"
"""
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def serve(env, places):
    """Start a server that looks every second for kernels that were idle for two."""
    servers = []

    def start(*options):
        culling = ("--MappingKernelManager.cull_idle_timeout=2", "--MappingKernelManager.cull_interval=1")
        servers.append(KernelServer(env | {"HOPS_VIEW": "notebook"}, places["work"], *culling, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def begin(kernel, served, places, name):
    """Run a cell in a kernel of a server; return its message, and the id of the widget that shows the run."""
    assert not served.run(LOAD).error
    message = served.send(RUN.format(name=name))
    shown = served.result(message, until=lambda executed: any(VIEW in data for data in executed.shown)).shown
    wait_until((places["work"] / f"{name}-began").exists, f"the beginning of {name}", deadline_s=DEADLINE_S)
    return message, next(data[VIEW]["model_id"] for data in shown if VIEW in data)


def say_ready(served, comm_id):
    """Send what a page sends that opens the widget, past the busy main thread; wait for the answer."""
    session, control = served.client.session, served.client.control_channel
    control.send(session.msg("create_subshell_request", {}))
    subshell = served.client.get_control_msg(timeout=DEADLINE_S)["content"]["subshell_id"]
    content = {"comm_id": comm_id, "data": {"method": "custom", "content": {"type": "ready"}}}
    asked = session.msg("comm_msg", content)
    asked["header"]["subshell_id"] = subshell
    served.client.shell_channel.send(asked)
    told = served.client.get_iopub_msg(timeout=DEADLINE_S)
    while not (told["msg_type"] == "comm_msg" and told["content"]["comm_id"] == comm_id):
        told = served.client.get_iopub_msg(timeout=DEADLINE_S)


def test_a_kernel_whose_cell_runs_is_busy_to_a_server_that_ends_idle_ones(kernel, serve, places):
    server = serve()
    served = server.start_kernel()
    message, comm_id = begin(kernel, served, places, "spared")
    say_ready(served, comm_id)
    # as long without a cell as the other is without news
    idle = server.start_kernel()
    wait_until(lambda: idle.state is None, "the end of an idle kernel", deadline_s=DEADLINE_S)
    assert served.state == "busy"
    (places["work"] / "spared-may-end").touch()
    assert not served.result(message).error
    assert served.ask("answer") == "'spared'"
    served.close()


def test_a_kernel_that_is_ended_while_its_cell_runs_leaves_the_run(kernel, serve, places):
    server = serve("--MappingKernelManager.cull_busy=True", "--MappingKernelManager.cull_connected=True")
    served = server.start_kernel()
    page = served.connect_page()
    begin(kernel, served, places, "culled")
    wait_until(lambda: served.state is None, "the kernel's end", deadline_s=DEADLINE_S)
    page.close()
    assert kernel.ask("[run.state.value for run in hops.live_runs() if run.name == 'culled']") == "['running']"
    (places["work"] / "culled-may-end").touch()
    assert not kernel.run("%attach culled").error
    assert kernel.ask("answer") == "'culled'"
