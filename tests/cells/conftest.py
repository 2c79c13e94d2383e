"""Captures cells and runs them as a cluster does: in a process of its own, with buffers mapped from files."""

import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hops_magic.cells.capture import Capture, CellOrigin, capture
from hops_magic.cells.results import Unpacked, unpack
from hops_magic.runs.events import RankError

RANK = """
import pickle, mmap, sys
from pathlib import Path
from hops_magic.cells.program import execute
from hops_magic.cells.results import Watch, pack
from hops_magic.cells.tracebacks import describe_error
folder = Path(sys.argv[1])

def open_buffer(digest):
    with (folder / digest).open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))

program = pickle.loads((folder / "program").read_bytes())
watch = Watch() if program.out is None else None
try:
    outcome = execute(program, open_buffer=open_buffer, extra={"strategy": "none"}, before=watch and watch.begin)
    answer = pack(program, outcome, folder / "parcel", watch=watch)
except BaseException as error:
    answer = describe_error(error, program)
(folder / "answer").write_bytes(pickle.dumps(answer))
"""


@dataclass
class Notebook:
    """A notebook's namespace, whose cells can be run here or on a rank."""

    folder: Path
    namespace: dict = field(default_factory=lambda: {"__name__": "__main__"})
    history: dict[int, str] = field(default_factory=dict)

    def cell(self, source: str) -> "Notebook":
        """Execute an ordinary cell."""
        number = len(self.history) + 1
        self.history[number] = source
        exec(compile(source, f"<cell {number}>", "exec"), self.namespace)
        return self

    def capture(self, source: str, **options) -> Capture:
        options.setdefault("folder", self.folder)
        origin = CellOrigin(label=f"In[{len(self.history) + 1}]", first_line=2)
        return capture(source, self.namespace, origin=origin, history=self.history, provided=("strategy",), **options)

    def rank(self, source: str, **options) -> "Ran":
        """Execute a cell on a rank and bring its values back."""
        ran = self.run(source, **options)
        assert not ran.failed, ran.answer.traceback
        return ran

    def run(self, source: str, **options) -> "Ran":
        """Execute a cell on a rank, whatever comes of it."""
        captured = self.capture(source, **options)
        place = self.folder / "rank"
        place.mkdir(exist_ok=True)
        for digest, data in captured.buffers.items():
            (place / digest).write_bytes(data)
        (place / "program").write_bytes(pickle.dumps(captured.program))
        done = subprocess.run(
            [sys.executable, "-c", RANK, str(place)], capture_output=True, text=True, cwd=place, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        answer = pickle.loads((place / "answer").read_bytes())
        ran = Ran(captured=captured, output=done.stdout, answer=answer)
        if not ran.failed:
            ran.unpacked = unpack(place / "parcel", self.namespace, originals=captured.originals)
            (place / "parcel").rename(place / "kept")
        return ran

    def unpack(self, parcel: bytes) -> Unpacked:
        return unpack(parcel, self.namespace)

    def __getitem__(self, name):
        return self.namespace[name]


@dataclass
class Ran:
    """What became of a cell on a rank."""

    captured: Capture
    output: str
    answer: object
    unpacked: Unpacked = field(default_factory=Unpacked)

    @property
    def failed(self) -> bool:
        return hasattr(self.answer, "traceback")

    @property
    def value(self):
        assert not self.failed, self.answer.traceback
        return self.unpacked.value

    @property
    def left_behind(self):
        assert not self.failed, self.answer.traceback
        return self.answer.left_behind

    @property
    def error(self) -> RankError:
        assert self.failed
        return self.answer


@pytest.fixture(scope="session")
def make_notebook():
    """Make a notebook in a folder."""
    return lambda folder: Notebook(folder=folder)


@pytest.fixture
def notebook(tmp_path):
    return Notebook(folder=tmp_path)
