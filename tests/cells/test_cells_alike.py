"""Cells of all kinds leave on a rank the names and values that they leave in IPython."""

# ruff: noqa: E501 (cells of notebooks as texts)
import os
import pickle
import random
import subprocess
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from hops_magic.cells.capture import CellOrigin, capture
from hops_magic.cells.results import unpack
from hops_magic.errors import HopsError

SEED, COUNT = int(os.environ.get("CELLS_SEED", "1")), int(os.environ.get("CELLS_COUNT", "40"))

# what may stand at the top of a cell; {a}, {b}, {c} are names, {n} is a number
STATEMENTS = r"""
{a} = {n}
{a} = {b} = [{n}]
{a}, *{b} = range({n} + 1)
{a}: int = {n}
({a} := {n})
({c} := [{a} := {n}])
{a} = [{b} := x for x in range({n})]
{a} = {{x: y for x, y in enumerate('ab' * {n})}}
import math as {a}; {b} = {a}.floor({n}.5); del {a}
from math import *; {a} = floor({n}.5)
{a} = 1; del {a}
for {a} in range({n}):\n    {b} = {a}\nelse:\n    {c} = 'else'
while True:\n    {a} = {n}\n    break
try:\n    {a} = 1 / 0\nexcept ZeroDivisionError as error:\n    {b} = str(error)\nfinally:\n    {c} = {n}
try:\n    {a} = {n}\nfinally:\n    {b} = 'done'
try:\n    raise ExceptionGroup('g', [ValueError({n})])\nexcept* ValueError as group:\n    {a} = len(group.exceptions)
import contextlib\nwith contextlib.suppress(KeyError) as {a}, contextlib.nullcontext({n}) as {b}:\n    {c} = {{}}[{b}]
match [{n}, {{'k': 2}}]:\n    case [{a}, {{'k': {b}, **{c}}}] if {a} == {n}:\n        pass
match {n}:\n    case 0 | 1 as {a}:\n        {b} = 'few'\n    case _:\n        {b} = 'many'
def {a}():\n    global {b}\n    {b} = {n}\n{a}(); del {a}
def {a}(x, y=[{n}], *, z={n}):\n    def inner():\n        nonlocal x\n        x += 1\n        return x\n    return inner() + y[0] + z\n{b} = {a}(1)
class {a}:\n    {b} = {n}\n    both = [x for x in range({b})] and {b}\n{c} = {a}.both
import functools\n@functools.lru_cache\ndef {a}(x): return x + {n}\n{b} = {a}(1)
@lambda f: f()\ndef {a}(): return {n}
import dataclasses\n@dataclasses.dataclass\nclass {a}:\n    x: int = {n}\n{b} = {a}() == {a}({n})
{a} = lambda *x, **y: (x, y); {b} = {a}({n}, k={n}); del {a}
async def {a}(): return {n}\n{b} = await {a}()
async def {a}():\n    for x in range({n}): yield x\n{b} = [x async for x in {a}()]\nasync for {c} in {a}(): pass
import asyncio\n{a} = await asyncio.gather(asyncio.sleep(0, {n}), asyncio.sleep(0, 2))
%time {a} = {n} + 1
%time {a}, {b} = {n}, 2; {c} = {a}
{a} = %time {n} * 2
{a} = []\n%timeit -n 1 -r {n} {a}.append(1)
%timeit -n 1 -r 1 {a} = {n}
if {n} > 1:\n    %time {a} = {n}
!true
{a} = !echo {n}
{a} = !echo {{{n} * 2}} $HOME_OF_NOBODY
{b} = {n}\n{a} = !echo $b {b} {{b}}
{a} = {n}; {a} += 1; {a} = f'{{{a}!r:>4}}'
exec('{a} = {n}')
globals()['{a}'] = {n}
{a} = (lambda: [i for i in range({n})])(); {b} = sum({a}, 0); {a}.append({a})
{a} = {n} if {n} > 2 else None; {a};
raise_ = None; {a} = raise_ or {n}
given.append({n}); {a} = given[:]
{a} = given; {a} += [{n}]
given_d['{a}'] = {n}; {a} = list(given_d.items())
def {a}(): given.append({n}); return len(given)\n{b} = {a}()
given, {a} = [{n}], given
del given; given = [{n}]
given_f(); {a} = given_f()
""".strip().splitlines()
GIVEN = "given, given_d, count = [1], {'k': 1}, 0\ndef given_f():\n    global count\n    count += 1\n    given.append(count)\n    return count"
REFUSED = {
    "%store x": "%store works on the notebook, not on a rank",
    "%env A=1": "%env works on the notebook",
    "%run x.py": "%run works on the notebook",
    "%cd /tmp": "%cd works on the notebook",
    "%%capture out\nx = 1": "%%capture cannot stand inside another cell magic",
    "x?": "? works on the notebook",
    "x = %who_ls": "%who_ls works on the notebook",
    "return 1": "'return' outside function",
    "x = yield 1": "'yield' outside function",
}


def cells(seed, count, size=6):
    """Make cells of some statements each; the same names come again and again."""
    drawn = random.Random(seed)
    for _ in range(count):
        chosen = [drawn.choice(STATEMENTS) for _ in range(size)]
        yield "\n".join(
            text.replace("\\n", "\n").format(
                a=drawn.choice("pqrst"), b="u" + drawn.choice("vwx"), c="z" + drawn.choice("yz"), n=drawn.randint(1, 4)
            )
            for text in chosen
        )


def shown(namespace, before):
    """Names and values, and which of the values are one object; code by its kind and what it is called."""
    found = {name: value for name, value in namespace.items() if not name.startswith("_") and name not in before}
    groups = {}
    for name, value in found.items():
        if isinstance(value, list | dict):
            groups.setdefault(id(value), []).append(name)
    shared = sorted(sorted(group) for group in groups.values() if len(group) > 1)
    return {name: _told(value) for name, value in found.items()}, shared


def _told(value):
    if callable(value) or isinstance(value, type):
        return type(value).__name__, getattr(value, "__name__", "")
    return type(value).__name__, repr(value)


RANK = """
import os, pickle, sys
from pathlib import Path
from hops_magic.cells.program import execute
from hops_magic.cells.results import Watch, pack
from hops_magic.cells.tracebacks import describe_error

def run(folder):
    program, watch = pickle.loads((folder / "program").read_bytes()), Watch()
    try:
        outcome = execute(program, open_buffer=None, extra={}, before=watch.begin)
        answer = dict(pack(program, outcome, folder / "parcel", watch=watch).left_behind)
    except BaseException as error:
        answer = describe_error(error, program).traceback
    (folder / "answer").write_bytes(pickle.dumps(answer))

for folder in map(Path, sys.argv[1:]):  # each in a process of its own
    if os.fork() == 0:
        run(folder)
        os._exit(0)
    os.wait()
"""


@dataclass
class Cell:
    """A generated cell, and the namespaces of the notebooks in which it runs here and on a rank."""

    source: str
    folder: Path
    there: dict
    here: dict = field(default_factory=dict)
    known: frozenset = frozenset()
    originals: object = None
    error: str = ""

    def run_here(self, shell):
        shell.user_module = types.ModuleType("__main__")
        self.here = shell.user_ns = vars(shell.user_module)
        shell.init_user_ns()
        shell.run_cell(GIVEN)
        self.known = set(self.here) - {"given", "given_d", "given_f", "count"}
        result = shell.run_cell(self.source)
        self.error = str(result.error_before_exec or result.error_in_exec or "")

    def send(self):
        exec(GIVEN, self.there)
        try:
            captured = capture(self.source, self.there, origin=CellOrigin(label="In[2]"), folder=self.folder)
        except HopsError as error:
            raise AssertionError(f"{self.source}\n{error}\nhere: {self.error}") from error
        self.originals = captured.originals
        (self.folder / "program").write_bytes(pickle.dumps(captured.program))

    def judge(self):
        answer = pickle.loads((self.folder / "answer").read_bytes())
        assert isinstance(answer, str) == bool(self.error), f"{self.source}\n{answer}\n{self.error}"
        if isinstance(answer, dict):
            unpacked = unpack(self.folder / "parcel", self.there, originals=self.originals)
            assert (answer, unpacked.left_behind) == ({}, {}), self.source
            assert shown(self.there, {"__name__"}) == shown(self.here, self.known), self.source


def test_generated_cells_leave_the_same_names_and_values(tmp_path):
    shell, made = InteractiveShell(), []
    for number, source in enumerate(cells(SEED, COUNT)):
        folder = tmp_path / str(number)
        folder.mkdir()
        made.append(Cell(source, folder, {"__name__": "__main__"}))
    for cell in made:
        cell.run_here(shell)
        cell.send()
    folders = [str(cell.folder) for cell in made]
    done = subprocess.run(
        [sys.executable, "-c", RANK, *folders], capture_output=True, text=True, timeout=60 + 10 * COUNT, check=False
    )
    assert done.returncode == 0, done.stderr
    for cell in made:
        cell.judge()


@pytest.mark.parametrize("cell", REFUSED)
def test_what_makes_no_sense_on_a_rank_is_refused_in_a_sentence(notebook, cell):
    from hops_magic.errors import UsageError

    notebook.cell("x = 1")
    with pytest.raises(UsageError) as refused:
        notebook.capture(f"y = 1\n{cell}" if not cell.startswith("%%") else cell)
    assert REFUSED[cell] in str(refused.value)
    assert "\n" not in str(refused.value)
