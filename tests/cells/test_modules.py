"""Modules of the notebook's folder travel as source; installed ones go by name."""

import sys

import pytest

from hops_magic.errors import CaptureError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The notebook's folder, in which Python looks for modules; the rank works elsewhere and sees only what travels."""
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - loaded:
        del sys.modules[name]


def write(folder, **files):
    for name, source in files.items():
        path = folder / (name.replace("__in__", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)


@pytest.fixture
def away(notebook, folder, monkeypatch):
    """Run a cell where the notebook's folder does not exist."""

    def run(source):
        captured = notebook.capture(source)
        program = captured.program
        object.__setattr__(program, "folder", "/nowhere")
        monkeypatch.setattr(notebook, "capture", lambda *_, **__: captured)
        return notebook.rank(source)

    return run


def test_a_module_and_what_it_imports_travel(notebook, folder, away):
    write(folder, helper_one="import helper_two\ndef f(): return helper_two.VALUE", helper_two="VALUE = 42")
    notebook.cell("import helper_one")
    ran = away("helper_one.f()")
    assert ran.value == 42
    assert {row.name: row.how for row in ran.captured.report.rows} == {
        "helper_one": "module shipped",
        "helper_two": "module shipped",
    }


def test_a_module_behind_a_function_or_an_object_travels(notebook, folder, away):
    write(folder, helper_three="class A:\n    n = 3\ndef make(): return A()")
    notebook.cell("from helper_three import make\na = make()\ndef use(): return make().n + a.n")
    assert away("use()").value == 6


def test_a_package_travels_with_its_relative_imports(notebook, folder, away):
    write(
        folder,
        kit__in____init__="from .core import answer",
        kit__in__core="from . import deep\nfrom .deep import number as n\ndef answer(): return n",
        kit__in__deep="number = 7",
    )
    assert away("import kit\nkit.answer()").value == 7


def test_folders_without_init_files_are_packages_too(notebook, folder, away):
    (folder / "plots" / "of").mkdir(parents=True)
    (folder / "plots" / "of" / "lines.py").write_text("width = 2")
    assert away("from plots.of import lines\nlines.width").value == 2


def test_edits_are_picked_up_at_the_next_run(notebook, folder):
    write(folder, helper_four="value = 1")
    notebook.cell("import helper_four")
    assert notebook.rank("helper_four.value").value == 1
    write(folder, helper_four="value = 2")
    assert notebook.rank("helper_four.value").value == 2


def test_installed_modules_go_by_name_and_nothing_is_imported_to_know(notebook, folder):
    captured = notebook.capture("import wave\nfrom sklearn.tree import DecisionTreeClassifier\nimport keras.layers")
    assert not captured.program.modules
    assert {"sklearn", "keras"} <= captured.program.frameworks
    assert "keras" not in sys.modules


def test_frameworks_are_seen_through_functions_and_modules(notebook, folder):
    write(folder, helper_five="def net():\n    import keras\n    return keras")
    notebook.cell("import helper_five")
    assert "keras" in notebook.capture("helper_five.net()").program.frameworks
    notebook.cell("def build():\n    import tensorflow as tf\n    return tf")
    assert "tensorflow" in notebook.capture("build()").program.frameworks
    assert "keras" not in notebook.capture("build()").program.frameworks


def test_an_error_in_a_shipped_module_shows_its_line(notebook, folder):
    write(folder, helper_six="def f():\n    return 1 / 0")
    ran = notebook.run("import helper_six\nhelper_six.f()")
    assert "helper_six.py" in ran.error.traceback
    assert "return 1 / 0" in ran.error.traceback


def test_a_module_with_a_syntax_error_is_named(notebook, folder):
    write(folder, helper_seven="x = (\n")
    with pytest.raises(CaptureError, match=r"helper_seven has a syntax error in line 1"):
        notebook.capture("import helper_seven")


STATEFUL = """
log, rate, sizes = [], 1, (1, 2)
class Config:
    layers = [3]
    depth = 1
class Counter:
    def __init__(self): self.n = 0
counter = Counter()
def note(x):
    global rate
    log.append(x); rate += 1; counter.n += x; Config.depth = x
def make():
    def inner(x): log.append((rate, x))
    return inner
"""


def test_what_a_module_holds_is_the_same_here_and_on_the_ranks(notebook, folder, away):
    write(folder, stateful_one=STATEFUL)
    notebook.cell("import stateful_one as m\nlog, inner = m.log, m.make()\nm.rate = 5\nm.Config.layers.append(4)\nm.note(1)")
    ran = away(
        "import stateful_one\nm.note(2)\ninner(3)\nlog.append(9)\nm.new = 'x'\nm.Config.layers.append(5)\n(m.rate, m.sizes)"
    )
    assert ran.value == (7, (1, 2))
    module = notebook["m"]
    assert (module.rate, module.new, module.Config.layers, module.Config.depth) == (7, "x", [3, 4, 5], 2)
    assert notebook["log"] is module.log
    assert module.log == [1, 2, (7, 3), 9]
    assert module.counter.n == 3
    notebook.cell("inner(0)")
    assert module.log[-1] == (7, 0)
    assert ran.unpacked.left_behind == {}


def test_a_module_that_was_edited_since_counts_as_it_is_now_and_the_report_says_so(notebook, folder):
    write(folder, stateful_two="rate = 1\ndef f():\n    return rate\n")
    notebook.cell("import stateful_two\nstateful_two.rate = 3")
    assert notebook.rank("stateful_two.f()").value == 3
    write(folder, stateful_two="rate = 2\ndef f():\n    return 10 * rate\n")
    ran = notebook.rank("stateful_two.f()")
    assert ran.value == 20
    assert ran.captured.report.notes[0].startswith("the file of stateful_two was edited since the notebook imported it")


def test_what_a_module_holds_and_cannot_travel_it_makes_anew(notebook, folder):
    write(
        folder,
        stateful_three="import threading\nlock = threading.Lock()\nready = []\ndef f():\n    with lock: ready.append(1)\n",
    )
    notebook.cell("import stateful_three as s")
    assert notebook.rank("s.f()").left_behind == {}
    assert notebook["s"].ready == [1]


def test_a_module_that_the_cell_imports_first_has_here_what_the_cell_set(notebook, folder):
    write(folder, stateful_four="rate = 1\n")
    notebook.rank("import stateful_four\nstateful_four.rate = 8")
    assert notebook["stateful_four"].rate == 8


def test_packages_of_another_environment_go_by_name_too(notebook, folder, monkeypatch):
    packages = folder / "other" / "site-packages"
    packages.mkdir(parents=True)
    write(packages, helper_of_packages="def f(): return 7")
    monkeypatch.syspath_prepend(str(packages))
    captured = notebook.capture("import helper_of_packages\nhelper_of_packages.f()")
    assert not captured.program.modules


def test_what_answers_to_any_name_is_a_variable_like_others(notebook, folder, away):
    source = (
        "class Open(dict):\n    def __getattr__(self, name):\n        return 1 if name == 'cache_parameters' else missing\n"
    )
    write(folder, helper_open=f"{source}settings = Open(a=1)\ndef f(): return settings['a']")
    notebook.cell("import helper_open as m\nm.settings['a'] = 2")
    assert away("m.f()").value == 2


def test_what_a_modules_cached_function_keeps_is_named(notebook, folder):
    write(
        folder,
        helper_kept="import functools\n@functools.cache\ndef config(): return {}\nclass A:\n"
        "    @functools.lru_cache(maxsize=4)\n    def of(self, n): return [n]\n@functools.cache\ndef unasked(): return 1",
    )
    notebook.cell("import helper_kept\nhelper_kept.config()['a'] = 1\na = helper_kept.A(); a.of(1); a.of(2)")
    assert notebook.capture("seen = dict(helper_kept.config())").report.notes == (
        "helper_kept.config keeps the result of an earlier call, which the ranks make anew",
        "helper_kept.A.of keeps the results of 2 earlier calls, which the ranks make anew",
    )
