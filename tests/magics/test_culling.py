"""A server that ends idle kernels spares one whose cell runs; ended all the same, its run goes on."""

import pytest
from kernel_server import KernelServer, ServedKernel
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
    """Start a server that looks every second for kernels that were idle for three, and that no page is connected to."""
    servers = []

    def start(view, *options):
        culling = ("--MappingKernelManager.cull_idle_timeout=3", "--MappingKernelManager.cull_interval=1")
        servers.append(KernelServer(env | {"HOPS_VIEW": view}, places["work"], *culling, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def begin(served, places, name):
    """Run a cell in a kernel of a server; return its message."""
    assert not served.run(LOAD).error
    message = served.send(RUN.format(name=name))
    wait_until((places["work"] / f"{name}-began").exists, f"the beginning of {name}", deadline_s=DEADLINE_S)
    return message


def open_widget(served, message):
    """Send what a page sends that opens the widget of a cell, past the busy main thread; wait for the answer."""
    shown = served.result(message, until=lambda executed: any(VIEW in data for data in executed.shown)).shown
    comm_id = next(data[VIEW]["model_id"] for data in shown if VIEW in data)
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
    server = serve("notebook")
    served = ServedKernel(server)
    message = begin(served, places, "spared")
    open_widget(served, message)
    served.page.close()
    # as long without a cell as the other is without a page
    idle = server.start_kernel()
    wait_until(lambda: server.state_of(idle) is None, "the end of an idle kernel", deadline_s=DEADLINE_S)
    assert served.state == "busy"
    (places["work"] / "spared-may-end").touch()
    assert not served.result(message).error
    served.close()


def test_a_kernel_that_is_ended_while_its_cell_runs_leaves_the_run(kernel, serve, places):
    # what a view draws anew now and then is activity, and puts the end off
    server = serve("stream", "--MappingKernelManager.cull_busy=True")
    served = ServedKernel(server)
    begin(served, places, "culled")
    served.page.close()
    wait_until(lambda: served.state is None, "the kernel's end", deadline_s=DEADLINE_S)
    served.close()
    assert kernel.ask("[run.state.value for run in hops.live_runs() if run.name == 'culled']") == "['running']"
    (places["work"] / "culled-may-end").touch()
    assert not kernel.run("%attach culled").error
    assert kernel.ask("answer") == "'culled'"
