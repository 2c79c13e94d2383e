"""Cells that run in another process: what they see, what comes back, and as what."""

import numpy as np
import pytest

LARGE = "import numpy as np\nx = np.arange(400_000, dtype='float64')"


def test_names_travel_through_functions_and_share_one_namespace(notebook):
    notebook.cell("offset = 1\ndef add(v): return v + offset\ndef twice(v): return add(add(v))")
    ran = notebook.rank("before = twice(0)\noffset = 10\nafter = twice(0)\n(before, after)")
    assert ran.value == (2, 20)
    assert notebook["offset"] == 10


def test_functions_and_classes_of_the_cell_come_back_as_if_defined_here(notebook):
    notebook.rank("scale = 2\ndef f(v): return v * scale\nclass A:\n    def g(self): return f(1)\na = A()")
    assert notebook["f"].__globals__ is notebook.namespace
    assert notebook.cell("scale = 5\nresult = (f(1), a.g(), isinstance(a, A))")["result"] == (5, 5, True)


def test_a_class_of_the_notebook_is_the_same_class_when_its_objects_come_back(notebook):
    notebook.cell("class A:\n    n = 1\nkeep = A")
    notebook.rank("a = A()\na.n = 7")
    assert type(notebook["a"]) is notebook["keep"]
    assert notebook["A"] is notebook["keep"]


def test_large_arrays_are_views_on_mapped_memory(notebook):
    notebook.cell(LARGE)
    ran = notebook.rank("own, total = x.flags.owndata, x.sum()")
    assert len(ran.captured.buffers) == 1
    assert not notebook["own"]
    assert notebook["total"] == notebook["x"].sum()
    assert ran.captured.report.rows[0].way.value == "mapped from node memory: once per node"


def test_results_keep_the_identity_they_share(notebook):
    ran = notebook.rank("class M: pass\nmodel = M()\nhistory = M()\nhistory.model = model\nmodel.back = history\nhistory")
    assert notebook["history"].model is notebook["model"]
    assert notebook["model"].back is notebook["history"]
    assert ran.value is notebook["history"]


@pytest.mark.parametrize(
    ("made", "changed", "fact"),
    [
        ("v = [1]", "v.append(2)", "v == [1, 2]"),
        ("v = {'a': 1}", "v['b'] = [3]", "v == {'a': 1, 'b': [3]}"),
        ("v = {1}", "v.add(2)", "v == {1, 2}"),
        ("v = bytearray(b'a')", "v.extend(b'b')", "v == b'ab'"),
        ("import numpy as np\nv = np.zeros(3)", "v += 1", "v.tolist() == [1, 1, 1]"),
        ("class A: pass\nv = A()\nv.n = 1", "v.n = 2\nv.me = v", "v.n == 2 and v.me is v"),
        ("import pandas as pd\nv = pd.DataFrame({'a': [1]})", "v['b'] = 2", "list(v) == ['a', 'b'] and v.b[0] == 2"),
        ("from sklearn.linear_model import LinearRegression as L\nv = L()", "v.fit([[0], [1]], [0, 1])", "v.coef_[0] > 0.9"),
        ("from collections import Counter\nv = Counter('a')", "v.update('ab')", "v == {'a': 2, 'b': 1}"),
    ],
)
def test_a_changed_object_stays_the_same_object(notebook, made, changed, fact):
    notebook.cell(f"{made}\nalias = v")
    notebook.rank(changed)
    assert notebook["alias"] is notebook["v"]
    assert eval(fact, notebook.namespace)


def test_an_unchanged_object_does_not_come_back(notebook):
    notebook.cell("v = [1, 2, 3]\nclass A: pass\na = A()")
    ran = notebook.rank("n = len(v) + bool(a)")
    assert ran.unpacked.names == ("n",)


def test_what_came_back_refers_to_the_notebooks_own_objects(notebook):
    notebook.cell("class A: pass\nmodel = A()\nmodel.n = 0\nalias = model\nconfig = {'lr': 1}")
    notebook.rank("history = A()\nhistory.model = model\nhistory.config = config\nmodel.n = 5")
    assert notebook["history"].model is notebook["alias"] is notebook["model"]
    assert notebook["alias"].n == 5
    assert notebook["history"].config is notebook["config"]


def test_a_large_array_changed_in_place_is_not_lost_silently(notebook):
    notebook.cell(LARGE + "\ny = x.copy()")
    ran = notebook.rank("x[7] = -1\nfirst = y[7]")
    assert "changed in place" in ran.left_behind["x"]
    assert "--out x" in ran.left_behind["x"]
    assert set(ran.left_behind) == {"x"}  # y has the same content and its own pages
    assert notebook["first"] == notebook["x"][7] == 7
    notebook.cell("alias = x")
    notebook.rank("x[7] = -1", out=("x",))
    assert notebook["alias"] is notebook["x"]
    assert notebook["x"][7] == -1


def test_an_object_whose_large_data_was_changed_in_place_comes_back(notebook):
    notebook.cell(LARGE + "\nclass A: pass\na = A()\na.weights, a.steps = x.copy(), 0\nalias = a\nd = {'w': x.copy()}")
    notebook.rank("a.weights -= 1\na.steps += 1\nd['w'][0] = 9")
    assert notebook["alias"] is notebook["a"]
    assert (notebook["a"].steps, notebook["a"].weights[0], notebook["d"]["w"][0]) == (1, -1, 9)


def test_one_name_that_cannot_come_back_does_not_spoil_the_rest(notebook):
    ran = notebook.rank("import threading\nlock = threading.Lock()\nd = {'a': [lock]}\nnumber = 5\nlock")
    assert notebook["number"] == 5
    assert ran.left_behind == {"lock": "it is a lock", "d": "d['a'][0] is a lock"}
    assert not ran.unpacked.has_value
    assert "lock" in ran.unpacked.display["text/plain"]


def test_out_chooses_what_comes_back(notebook):
    ran = notebook.rank("a, b, c = 1, 2, 3\na + b", out=("b",))
    assert ran.unpacked.names == ("b",)
    assert ran.value == 3
    ran = notebook.rank("a, b, c = 1, 2, 3\na + b", out=())
    assert ran.unpacked.names == ()
    assert not ran.unpacked.has_value


def test_modules_imported_by_the_cell_come_back(notebook):
    notebook.rank("import json as j\nfrom math import pi")
    assert notebook["j"].dumps(notebook["pi"]).startswith("3.14")


def test_large_results_are_written_once_and_can_be_written_to(notebook):
    notebook.rank("import numpy as np\na = np.ones(300_000)\nb = {'a': a}")
    assert notebook["b"]["a"] is notebook["a"]
    notebook["a"][0] = 5
    np.testing.assert_array_equal(notebook["a"][1:], 1)


def test_a_notebook_restarted_meanwhile_still_gets_its_values(notebook):
    notebook.cell("model = {'w': [0]}")
    ran = notebook.capture("model['w'][0] = 1\nhistory = [model]")
    assert ran.program.bundles
    notebook.rank("model['w'][0] = 1\nhistory = [model]")
    assert notebook["history"][0] is notebook["model"]


def test_values_whose_making_calls_functions_of_the_notebook(notebook):
    notebook.cell("""
import math
a_made = []
class Net:
    def __init__(self): self.n = zero() + math.pi
    def __reduce__(self): return (Net, ())
def zero(): return offset
offset = 1
net = Net()""")
    ran = notebook.rank("class Own(Net):\n    def __reduce__(self): return (Own, ())\nown = Own()\nnet.n == own.n")
    assert ran.value
    assert notebook["own"].n == notebook["net"].n


def test_values_come_to_a_notebook_that_was_restarted_since(notebook):
    notebook.cell("import math\nscale = 2\ndef double(v): return math.floor(v) * scale\nclass A: pass\nconfig = A()")
    ran = notebook.rank("a = A()\na.config = config\ndef f(v): return double(v) + 1")
    assert ran.unpacked.names == ("a", "f")
    restarted = type(notebook)(folder=notebook.folder)
    parcel = (notebook.folder / "rank" / "kept").read_bytes()
    assert restarted.unpack(parcel).names == ("a", "f")
    assert restarted["f"](1.5) == 3
    assert restarted["a"].config is restarted["config"]


def test_a_value_that_cannot_be_rebuilt_here_is_named_and_the_rest_comes(notebook):
    ran = notebook.rank("""
class A:
    def __reduce__(self): return (int, ('no number',))
a, n = A(), 5""")
    assert notebook["n"] == 5
    assert "a" not in notebook.namespace
    assert list(ran.unpacked.left_behind) == ["a"]
    assert "cannot be rebuilt in the notebook: ValueError" in ran.unpacked.left_behind["a"]


def test_kinds_of_things_that_notebooks_define(notebook):
    notebook.cell("""
import dataclasses, enum, functools, typing, abc, logging
@functools.lru_cache(maxsize=7)
def cached(n): return n + 1
@functools.singledispatch
def kind(v): return 'any'
@kind.register
def _(v: int): return 'int'
class Color(enum.Enum):
    RED = 1
class Point(typing.NamedTuple):
    x: int
@dataclasses.dataclass
class Data:
    n: int = 1
    def twice(self): return cached(self.n) * 2
class Base(abc.ABC):
    @abc.abstractmethod
    def f(self): ...
    @property
    def g(self): return self.f()
    @classmethod
    def make(cls): return cls()
class Child(Base):
    def f(self): return super().__init__() or bound.n
T = typing.TypeVar('T')
class Box(typing.Generic[T]):
    pass
bound = Data(4)
method = bound.twice
part = functools.partial(cached, 3)
red, point, child = Color.RED, Point(1), Child()
""")
    ran = notebook.rank("""
facts = [
    cached(1) == 2, cached.cache_parameters()['maxsize'] == 7, kind(1) == 'int', kind('') == 'any',
    red is Color.RED, Color['RED'] is red, point == Point(1), isinstance(point, Point), method() == 10,
    part() == 4, child.g == 4, isinstance(child, Base), Child.make().f() == 4, dataclasses.asdict(bound) == {'n': 4},
    Box[int]() is not None, method.__self__ is bound,
]
new = Color.RED, Point(2), Child()""")
    assert all(notebook["facts"]), notebook["facts"]
    assert notebook["new"][0] is notebook["Color"].RED
    assert type(notebook["new"][1]) is notebook["Point"]
    assert type(notebook["new"][2]) is notebook["Child"]
    assert ran.unpacked.names == ("facts", "new")


def test_time_binds_and_shows_what_its_statements_do(notebook):
    ran = notebook.rank("before = 1\n%time h = sum(range(10))\nseen = %time h + 1\n%time a = h; a - 3")
    assert (notebook["before"], notebook["h"], notebook["seen"], notebook["a"]) == (1, 45, 46, 45)
    assert ran.value == 42
    assert ran.output.count("Wall time") == 3


def test_timeit_does_as_many_loops_as_it_is_told(notebook):
    ran = notebook.rank("calls = []\n%timeit -n 3 -r 2 calls.append(1)")
    assert len(notebook["calls"]) == 6
    assert "best of 2 runs, 3 loops each" in ran.output


def test_names_that_a_cell_deletes_are_gone_here_too(notebook):
    notebook.cell("gone, kept, asked, made_anew = [1], [2], [3], [4]\ndef drop():\n    global asked\n    del asked")
    notebook.rank("del gone, made_anew\ndrop()\nmade_anew = 5\ntemporary = 1\ndel temporary")
    assert not {"gone", "asked", "temporary"} & set(notebook.namespace)
    assert (notebook["kept"], notebook["made_anew"]) == ([2], 5)
    assert notebook.run("del gone").error.message == "name 'gone' is not defined"


def test_an_array_that_is_changed_and_then_deleted_is_gone(notebook):
    notebook.cell("import numpy as np\nbig = np.zeros(400_000)")
    assert notebook.rank("big[0] = 1\ndel big\nleft = 1").left_behind == {}
    assert "big" not in notebook.namespace


def test_names_of_a_star_import_are_found_and_come_back(notebook):
    notebook.cell("def area(r):\n    return pi * r * r")
    (notebook.folder / "shapes.py").write_text("side = 3\ndef double(x): return 2 * x\n")
    ran = notebook.rank("from math import *\nfrom shapes import *\nq = sqrt(pi)\ndouble(side) + floor(area(1))")
    assert ran.value == 9
    assert (notebook["q"], notebook["sqrt"](9), notebook["side"]) == (3.141592653589793**0.5, 3.0, 3)
