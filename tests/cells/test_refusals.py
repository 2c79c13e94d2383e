"""What cannot travel is named before anything starts: where it is, what it is, who made it, what to do."""

import pytest

from hops_magic.errors import CaptureError


@pytest.mark.parametrize(
    ("cell", "body", "sentence"),
    [
        ("log = open('/dev/null')", "log", r"^log \(an open file '/dev/null', made in In\[1\]\) .*open it inside the cell"),
        ("config = {'out': open('/dev/null')}", "config", r"^config\['out'\] \(an open file"),
        ("class C: pass\nc = C()\nc.log = open('/dev/null')", "c", r"^c\.log \(an open file"),
        ("import threading\nlock = threading.Lock()", "lock", r"^lock \(a lock"),
        ("import threading\nlock = threading.RLock()", "lock", r"^lock \(a lock"),
        ("import threading\nready = threading.Event()", "ready", r"a threading\.Event"),
        ("import threading\nt = threading.Thread(target=print, name='worker')", "t", r"a thread 'worker'"),
        ("import socket\ns = socket.socket()", "s", r"an open socket.*connect inside the cell"),
        ("g = (i for i in [1])", "g", r"a generator.*make it inside the cell"),
        ("items = [1, (2, (i for i in [1]))]", "items", r"^items\[1\]\[1\] \(a generator"),
        ("async def work(): pass\nc = work()", "c", r"a coroutine.*await it"),
        ("import sqlite3\ndb = sqlite3.connect(':memory:')", "db", r"sqlite3\.Connection"),
        ("def outer():\n    log = open('/dev/null')\n    return lambda: log\nf = outer()", "f", r"^f \(its variable log\)"),
        ("import functools\np = functools.partial(print, file=open('/dev/null'))", "p", r"p\.keywords\['file'\]"),
        ("log = open('/dev/null')\ndef helper(): return log", "helper()", r"^log \(an open file"),
        ("class C:\n    log = open('/dev/null')", "C", r"^C\.log \(an open file"),
        ("class C:\n    log = open('/dev/null')\nc = C()", "c", r"C\.log \(an open file"),
        ("def f(log=open('/dev/null')): pass", "f", r"^f \(its default 1\)"),
        ("class C:\n    __slots__ = ('log',)\nc = C()\nc.log = open('/dev/null')", "c", r"^c\.log \(an open file"),
        ("class C:\n    def __reduce__(self): raise OSError('by choice')\nc = C()", "c", r"^c \(of type C.*by choice"),
    ],
)
def test_a_value_that_cannot_travel(notebook, cell, body, sentence):
    notebook.cell(cell)
    with pytest.raises(CaptureError, match=sentence):
        notebook.capture(body)
    if hasattr(value := notebook.namespace.get(body), "close"):
        value.close()


def test_all_that_is_wrong_is_said_at_once(notebook):
    notebook.cell("log = open('/dev/null')\ngen = (i for i in [1])")
    with pytest.raises(CaptureError) as raised:
        notebook.capture("log, gen, nowhere")
    assert [line.split()[0] for line in str(raised.value).splitlines()] == ["gen", "log", "name"]


@pytest.mark.parametrize(
    ("cell", "body", "sentence"),
    [
        ("", "nowhere + 1", "name 'nowhere' is not defined in the notebook: run the cell"),
        ("x_train = 1", "x_trian", "did you mean x_train"),
        ("", "pirnt(1)", "did you mean print"),
        ("", "count += 1", "'count'"),
        ("def helper(): return missing", "helper()", r"'missing' .*helper of In\[1\] reads it"),
        ("class C:\n    def f(self): return missing", "C().f()", "'missing' .*C"),
    ],
)
def test_an_undefined_name(notebook, cell, body, sentence):
    notebook.cell(cell)
    with pytest.raises(CaptureError, match=sentence):
        notebook.capture(body)


@pytest.mark.parametrize(
    "body",
    [
        "print(len([1]), __name__, __file__ if False else '')",
        "strategy",
        "display(1)",
        "try:\n    maybe\nexcept NameError:\n    maybe = 1",
        "if False:\n    x = 1\n    print(x)",
        "helper_sets()\nfrom_helper",
    ],
)
def test_names_that_need_not_exist(notebook, body):
    notebook.cell("def helper_sets():\n    global from_helper\n    from_helper = 1\n    return from_helper")
    if "from_helper" in body:
        body = body.replace("\nfrom_helper", "")
    notebook.capture(body)


def test_what_the_cell_makes_anew_need_not_travel(notebook):
    notebook.cell("log = open('/dev/null')\ndef write(): return log")
    captured = notebook.capture("log = []\nwrite()")
    assert {row.name: row.how for row in captured.report.rows}["log"] == "left out, the cell makes its own"


def test_in_memory_files_and_standard_streams_travel(notebook):
    notebook.cell("import io, sys, logging\nb = io.BytesIO(b'abc')\nout = sys.stdout\nlogger = logging.getLogger('x')")
    ran = notebook.rank("print('hello', file=out)\n(b.read(), logger.name)")
    assert ran.value == (b"abc", "x")
    assert ran.output == "hello\n"


def test_out_must_name_what_exists(notebook):
    with pytest.raises(CaptureError, match=r"modle.*did you mean model"):
        notebook.capture("model = 1", out=("modle",))
    assert notebook.rank("exec('hidden = 5')", out=("hidden",)).unpacked.names == ("hidden",)


def test_the_newest_cell_that_made_a_name_is_named_whatever_magics_it_has(notebook):
    notebook.cell("log = None").cell("log = open('/dev/null')")
    notebook.history[2] = "%load_ext hops_magic\n!ls\nlog = open('/dev/null')"
    notebook.history[3] = "%%distributed -n 2\nother = 1"
    with pytest.raises(CaptureError, match=r"made in In\[2\]"):
        notebook.capture("log")
