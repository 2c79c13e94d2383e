"""A Jupyter server without a page, which starts, culls and ends kernels as its users' servers do."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from jupyter_client.blocking import BlockingKernelClient
from kernels import DEADLINE_S, Kernel
from waiting import listens, wait_until, where_it_is
from websocket import create_connection

TOKEN = "of-this-test"


class KernelServer:
    """A server of its own process; options are those of its command line."""

    def __init__(self, env, cwd, *options):
        self.runtime = env["JUPYTER_RUNTIME_DIR"]
        command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--port=0"]
        command += [f"--IdentityProvider.token={TOKEN}", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={cwd}"]
        self._log = (cwd / "server.log").open("a")
        self._process = subprocess.Popen([*command, *options], env=env, cwd=cwd, stdout=self._log, stderr=subprocess.STDOUT)
        told = Path(self.runtime) / f"jpserver-{self._process.pid}.json"
        self.url = wait_until(lambda: where_it_is(told), "a Jupyter server", deadline_s=DEADLINE_S)
        wait_until(lambda: listens(self.url), "a Jupyter server that answers", deadline_s=DEADLINE_S)

    def ask(self, method, path):
        """Ask the server's own API; None for what it does not have."""
        request = urllib.request.Request(f"{self.url}{path}", method=method, headers={"Authorization": f"token {TOKEN}"})
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def start_kernel(self):
        """Start a kernel that nobody is connected to; return its id."""
        return self.ask("POST", "/api/kernels")["id"]

    def state_of(self, kernel_id):
        """What the server takes a kernel for; None when it has ended it."""
        found = self.ask("GET", f"/api/kernels/{kernel_id}")
        return found and found["execution_state"]

    def stop(self):
        """End the server as its terminal's end does: it ends its kernels first."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(DEADLINE_S)
        self._log.close()


class ServedKernel(Kernel):
    """A kernel of a server, spoken to beside it; to the server, a page is connected to it until that is closed."""

    def __init__(self, server):
        self._server, self.id = server, server.start_kernel()
        address = f"{server.url}/api/kernels/{self.id}/channels".replace("http", "ws", 1)
        # at once: a kernel that a page is connected to is not ended for being idle
        self.page = create_connection(address, header=[f"Authorization: token {TOKEN}"], timeout=DEADLINE_S)
        self.client = BlockingKernelClient(connection_file=f"{server.runtime}/kernel-{self.id}.json")
        self.client.load_connection_file()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=DEADLINE_S)

    @property
    def state(self):
        """What the server takes it for; None when it has ended it."""
        return self._server.state_of(self.id)

    def close(self):
        """End it."""
        self.page.close()
        self.client.stop_channels()
        self._server.ask("DELETE", f"/api/kernels/{self.id}")
