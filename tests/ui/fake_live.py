"""A Jupyter server extension for tests: makes a recorded run live again, without a cluster, as fast as it is told."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado.web import authenticated

from hops_magic.runs import events as ev
from hops_magic.runs.run import Run, advance_all
from hops_magic.runs.states import RunState

if TYPE_CHECKING:
    from hops_magic.api.context import Context

ROWS_EVERY = 100


@dataclass
class _Follower:
    run: Run
    is_connected: bool = True

    def wake(self) -> None: ...

    def close(self) -> None: ...


@dataclass
class FakeRun:
    """What the server follows instead of a run on a cluster."""

    run_id: str
    follower: _Follower
    said: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def tell(self, context: Context, changes: int, per_s: float) -> None:
        """Change so many times, each time with values of metrics, now and then with a line of output."""
        for number in range(changes):
            if self.stop.wait(1 / per_s):
                return
            now = time.time()
            values = {"loss": 1 / (1 + number) + 0.01 * math.sin(number), "count": float(number)}
            news: list[ev.Event] = [ev.Metrics(at=now, rank=0, step=number, scope="user", values=values)]
            if number % ROWS_EVERY == 0:
                news.append(ev.Output(rank=0, stream="stdout", text=f"step {number} of {changes}\n"))
            self.follower.run = advance_all(self.follower.run, news)
            context.changes.say([f"run/{self.run_id}", *(["runs"] if number % ROWS_EVERY == 0 else [])])
            self.said = number + 1


class FakeLiveHandler(JupyterHandler):
    runs: dict[str, FakeRun]

    def initialize(self, runs: dict[str, FakeRun]) -> None:
        self.runs = runs

    @authenticated
    async def get(self) -> None:
        """Begin, with ``changes`` and ``per_s``; or tell how many changes there were."""
        run_id = self.get_argument("run")
        if changes := self.get_argument("changes", ""):
            began = [
                ev.StateChanged(at=time.time(), state=RunState.STARTING),
                ev.RankStarted(at=time.time(), rank=0, attempt=0, pid=1, worker="tls://w:1", host="node"),
                ev.StateChanged(at=time.time(), state=RunState.RUNNING),
            ]
            run = advance_all(Run(run_id=run_id, name="live", created_at=time.time()), began)
            fake = self.runs[run_id] = FakeRun(run_id, _Follower(run))

            def begin(context: Context) -> None:
                context.live._handles[run_id] = fake  # type: ignore[assignment]
                words = (context, int(changes), float(self.get_argument("per_s")))
                threading.Thread(target=fake.tell, args=words, daemon=True).start()

            await self.settings["hops_backend"].work(begin)
        self.finish({"said": self.runs[run_id].said if run_id in self.runs else 0})


def _load_jupyter_server_extension(server: Any) -> None:
    place = url_path_join(server.base_url, "fake-live")
    server.web_app.add_handlers(".*$", [(place, FakeLiveHandler, {"runs": {}})])
