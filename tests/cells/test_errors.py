"""Errors of a cell point at its lines as Jupyter numbers them, and are said once for all ranks."""

import pytest

from hops_magic.cells.tracebacks import collapse
from hops_magic.errors import first_sentence
from hops_magic.runs.events import RankError


def test_a_traceback_begins_at_the_cells_line(notebook):
    ran = notebook.run("x = 1\n\nraise ValueError('my message')")
    assert ran.error.name == "ValueError"
    assert ran.error.message == "my message"
    lines = ran.error.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == "  Cell In[1], line 4, in <module>"
    assert lines[2].strip() == "raise ValueError('my message')"
    assert "hops_magic/" not in ran.error.traceback


def test_functions_of_other_cells_are_shown_with_their_cell_and_line(notebook):
    notebook.cell("def first():\n    pass")
    notebook.cell("def helper():\n    v = 1\n    return v / 0")
    import linecache

    linecache.cache["<cell 2>"] = (1, None, notebook.history[2].splitlines(keepends=True), "<cell 2>")
    ran = notebook.run("helper()")
    assert "Cell In[3], line 2" in ran.error.traceback
    assert "Cell In[2], line 3, in helper" in ran.error.traceback
    assert "return v / 0" in ran.error.traceback


def test_a_chain_of_errors_is_shown_whole(notebook):
    ran = notebook.run("try:\n    {}['k']\nexcept KeyError as error:\n    raise ValueError('outer') from error")
    assert "Cell In[1], line 3" in ran.error.traceback
    assert "direct cause" in ran.error.traceback
    assert "Cell In[1], line 5" in ran.error.traceback


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        ("exec('x = (')", "SyntaxError", "line 2"),
        ("class E(Exception):\n    def __str__(self): raise RuntimeError('no')\nraise E()", "E", "line 4"),
        ("raise ExceptionGroup('several', [ValueError('a'), TypeError('b')])", "ExceptionGroup", "TypeError: b"),
        ("import json\njson.loads('{')", "JSONDecodeError", "decoder.py"),
        ("def f(): f()\nf()", "RecursionError", "line 3"),
        ("import asyncio\nawait asyncio.sleep(0)\nraise KeyError('late')", "KeyError", "line 4"),
        ("%time 1 / 0", "ZeroDivisionError", "line 2"),
        ("import sys\nsys.exit('enough')", "SystemExit", "line 3"),
        ("x = 1\nx +\\\n 'a'", "TypeError", "line 3"),
    ],
)
def test_unusual_errors(notebook, source, name, words):
    error = notebook.run(source).error
    assert error.name == name
    assert words in error.traceback


def test_a_value_that_cannot_be_rebuilt_on_a_rank_is_named_in_one_sentence(notebook):
    notebook.cell("""
class A:
    def __reduce__(self): return (int, ("no number",))
a = A()""")
    raised = notebook.run("print(a)").error
    assert raised.name == "CaptureError"
    assert raised.message.startswith("a cannot be rebuilt on the rank, ValueError: invalid literal for int()")
    assert raised.message.endswith("make it inside the cell")
    assert raised.traceback == f"CaptureError: {raised.message}"
    failed = RankError(rank=0, name=raised.name, message=raised.message, traceback=raised.traceback)
    assert collapse([failed], world_size=1).traceback == ""


def error(rank, message="m", name="ValueError", **more):
    return RankError(rank=rank, name=name, message=message, traceback=f"trace {message}", **more)


def test_the_same_error_of_several_ranks_is_said_once():
    collapsed = collapse([error(2), error(0), error(1)], world_size=4)
    assert collapsed.message == "ValueError: m  [ranks 0-2: same error]"
    assert collapsed.traceback == "trace m"


def test_the_message_is_said_once(notebook):
    described = notebook.run("import json\njson.loads('{')").error
    raised = RankError(rank=0, name=described.name, message=described.message, traceback=described.traceback)
    collapsed = collapse([raised], world_size=1)
    assert collapsed.message.startswith("JSONDecodeError: Expecting property name")
    assert "JSONDecodeError: Expecting" not in collapsed.traceback
    assert collapsed.traceback.splitlines()[-1].strip()


def test_different_errors_are_all_said():
    collapsed = collapse([error(0), error(1, "other"), error(3)], world_size=4)
    assert collapsed.message.splitlines() == ["ValueError: m  [ranks 0, 3: same error]", "ValueError: other  [rank 1]"]
    assert collapsed.traceback == "[ranks 0, 3]\ntrace m\n\n[rank 1]\ntrace other"


def test_of_different_errors_each_message_is_said_once_though_it_ends_in_newlines():
    errors = [
        RankError(rank=rank, name="ValueError", message=said, traceback=f"Cell In[1], line 2\n  f()\nValueError: {said}\n")
        for rank, said in enumerate(["bad shape\n\n", "bad type\n"])
    ]
    collapsed = collapse(errors, world_size=2)
    assert collapsed.message == "ValueError: bad shape  [rank 0]\nValueError: bad type  [rank 1]"
    assert collapsed.traceback == "[rank 0]\nCell In[1], line 2\n  f()\n\n[rank 1]\nCell In[1], line 2\n  f()"


def test_of_a_librarys_long_error_the_first_sentence_is_kept():
    keras = "Could not locate class 'Own'. Make sure custom classes are decorated. Full object config: {'a': 1}"
    assert first_sentence(TypeError(keras)) == "Could not locate class 'Own'"
    assert first_sentence(ValueError("\nCannot save:\n\nlayers: ...")) == "Cannot save"
    assert first_sentence(ValueError("v1.5 is e.g. too old")) == "v1.5 is e.g. too old"
    assert first_sentence(KeyError()) == "KeyError"


def test_symptoms_of_a_lost_peer_are_hidden_behind_a_cause():
    lost = error(0, "peer 1 is gone", "PeerLostError", is_peer_loss=True)
    assert collapse([lost, error(1)], world_size=2).message == "ValueError: m  [rank 1]"
    assert "PeerLostError" in collapse([lost], world_size=2).message


def test_a_run_of_one_rank_says_nothing_of_ranks():
    assert collapse([error(0)], world_size=1).message == "ValueError: m"
    assert collapse([error(0, "")], world_size=1).message == "ValueError"
