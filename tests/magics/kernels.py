"""A real kernel, as a notebook has it."""

import queue
import re
import time
from dataclasses import dataclass, field

from jupyter_client.manager import KernelManager

DEADLINE_S = 120
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Executed:
    """What a cell said."""

    text: str = ""
    shown: list = field(default_factory=list)
    error: str = ""

    @property
    def all(self) -> str:
        return "\n".join([self.text, *(data.get("text/plain", "") for data in self.shown), self.error])


class Kernel:
    """A kernel and a client of it."""

    def __init__(self, env, cwd):
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=env, cwd=str(cwd))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=DEADLINE_S)

    def send(self, code):
        """Start a cell; returns the message's id."""
        return self.client.execute(code)

    def result(self, msg_id, until=lambda executed: False, deadline_s=DEADLINE_S):
        """Collect what a cell says until it is idle, or until a fact is true."""
        executed, end = Executed(), time.monotonic() + deadline_s
        while time.monotonic() < end:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                executed.text += content["text"]
            elif kind in ("display_data", "execute_result", "update_display_data"):
                executed.shown.append(content["data"])
            elif kind == "error":
                executed.error = ANSI.sub("", "\n".join(content["traceback"]))
            if until(executed) or (kind == "status" and content["execution_state"] == "idle"):
                return executed
        raise AssertionError(f"the cell was not done within {deadline_s} s: {executed}")

    def run(self, code):
        """Run a cell to its end."""
        return self.result(self.send(code))

    def ask(self, expression):
        """Evaluate an expression in the kernel; returns its repr."""
        executed = self.run(f"print(repr({expression}))")
        assert not executed.error, executed.error
        return executed.text.strip()

    def restart(self, *, now=True):
        """Start the kernel anew: killed, or, as the restart button does it, interrupted and shut down."""
        self.manager.restart_kernel(now=now)
        self.client.wait_for_ready(timeout=DEADLINE_S)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
