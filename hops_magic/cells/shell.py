"""What a rank offers in place of IPython's shell: ``!command``, ``%time``, ``%timeit``."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from typing import Any

from hops_magic.cells.syntax import timed_code, timing_options

_REPEATS = 7


class RankShell:
    """The part of IPython's shell that a cell's syntax needs.

    Parameters
    ----------
    namespace
        Where ``{name}`` and ``$name`` in commands and the code of ``%time`` find their values.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.user_ns = namespace

    def system(self, command: str) -> None:
        """Run ``!command``; its output goes to this rank's output as it comes."""
        with subprocess.Popen(  # noqa: S602 (a shell is what ! means)
            self._expanded(command),
            shell=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                sys.stdout.write(line)
        self.user_ns["_exit_code"] = process.returncode

    def getoutput(self, command: str, **_: Any) -> Any:
        """Run ``lines = !command``; the lines are IPython's list, with ``.n``, ``.grep()`` and ``.fields()``."""
        from IPython.utils.text import SList

        done = subprocess.run(  # noqa: S602 (a shell is what ! means)
            self._expanded(command), shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        return SList(done.stdout.decode(errors="replace").splitlines())

    def run_line_magic(self, name: str, line: str, **_: Any) -> Any:
        """Run one of the few magics that a cell may have; the others were refused before the run."""
        magics: dict[str, Callable[[str], Any]] = {"time": self._time, "timeit": self._timeit}
        return magics[name](line) if name in magics else None

    def _time(self, line: str) -> Any:
        tree = ast.parse(timed_code("time", line), "<%time>")
        last = tree.body[-1] if tree.body else None
        shown = None
        if isinstance(last, ast.Expr):
            shown = compile(ast.Expression(last.value), "<%time>", "eval", dont_inherit=True)
            tree.body.pop()
        statements = compile(tree, "<%time>", "exec", dont_inherit=True)
        began, began_cpu = time.perf_counter(), time.process_time()
        exec(statements, self.user_ns)  # noqa: S102 (the user's code)
        value = eval(shown, self.user_ns) if shown else None  # noqa: S307 (the user's code)
        wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        sys.stdout.write(f"CPU times: {cpu:.3g} s\nWall time: {wall:.3g} s\n")
        return value

    def _timeit(self, line: str) -> None:
        timer = timeit.Timer(timed_code("timeit", line), globals=self.user_ns)
        asked = timing_options(line)
        number = asked.get("n") or timer.autorange()[0]
        repeats = asked.get("r") or _REPEATS
        best = min(timer.repeat(repeats, number)) / number
        sys.stdout.write(f"{best:.3g} s per loop (best of {repeats} runs, {number} loops each)\n")

    def _expanded(self, command: str) -> str:
        from IPython.utils.text import DollarFormatter

        try:
            return str(DollarFormatter().vformat(command, args=[], kwargs=self.user_ns))
        except Exception:  # noqa: BLE001 (as IPython does: what is no expression, such as awk's {print $1}, stays as it is)
            return command
