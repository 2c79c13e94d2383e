"""One graph of objects, there and back, for the kinds that pickle would copy apart or make otherwise."""
# ruff: noqa: E501 (cells of notebooks as texts)

import pytest

# each: made in the notebook, done by the cell, and what is true of the notebook then
GRAPHS = {
    "the dictionary of attributes beside its object": (
        "class A: pass\na, lone = A(), A()\na.x = 1\nattributes = vars(a)\nclass Borg:\n    state = {}\n"
        "    def __init__(self): self.__dict__ = self.state\none, other = Borg(), Borg()",
        "attributes['y'] = 2\na.z = a.y + 1\none.n = 5\nseen = other.n\nlone.x = 1\nnew = A()\nnew.x = 1\nof_new = vars(new)",
        "a.z == 3 == attributes['z'] and vars(a) is attributes and seen == 5 and vars(one) is vars(other) is Borg.state "
        "and of_new is vars(new)",
    ),
    "arrays over bytes of Python's own": (
        "import array\nimport numpy as np\nraw, packed = bytearray(8), array.array('d', [1, 2])\nover = np.frombuffer(raw, np.uint8)\n"
        "numbers, part = np.frombuffer(packed), memoryview(raw)[2:]\nshaped = memoryview(np.zeros((2, 2)))",
        "over[0] = 7\nraw[1] = 5\npart[0] = 3\nnumbers[0] = 9\nshaped[1, 1] = 4.0\nseen = raw[0], int(over[1]), int(over[2]), packed[0]",
        "seen == (7, 5, 3, 9) and over.tolist()[:3] == [7, 5, 3] == list(raw)[:3] and list(packed) == [9, 2] == numbers.tolist() "
        "and shaped[1, 1] == 4 and (raw.__setitem__(0, 1) or over[0]) == 1",
    ),
    "arrays over the bytes of files in memory, and of classes of the user's own": (
        "import io\nimport numpy as np\nclass Raw(bytearray): pass\nfile, raw = io.BytesIO(bytes(8)), Raw(8)\nview = file.getbuffer()\n"
        "over, own = np.frombuffer(view, np.uint8), np.frombuffer(raw, np.uint8)\nodd = np.lib.stride_tricks.as_strided(own, (4,), (2,))",
        "over[0] = 7\nview[1:3] = b'\\x05\\x03'\nfile.seek(3)\nown[0] = 9\nodd[1] = 4\nfile.tag = 'read'\n"
        "seen = file.getvalue()[:3], over.tolist()[:3], raw[0], raw[2]",
        "seen == (b'\\x07\\x05\\x03', [7, 5, 3], 9, 4) and file.getvalue()[:3] == b'\\x07\\x05\\x03' and over.tolist()[:3] == [7, 5, 3] "
        "and view[0] == 7 and (file.tell(), file.tag) == (3, 'read') and raw[0] == 9 == own[0] and odd[1] == 4 "
        "and (over.__setitem__(4, 6) or file.getvalue()[4]) == 6",
    ),
    "tables of pandas and arrays that look into them": (
        "import numpy as np\nimport pandas as pd\ntable = pd.DataFrame({'a': [1.0, 2.0], 'b': pd.to_datetime(['2020-01-01'] * 2)})\n"
        "column, moments = table['a'].to_numpy(), table['b'].to_numpy()\nunder = np.ones(2)\nover = pd.Series(under, copy=False)\n"
        "apart = pd.DataFrame({'a': [1.0, 2.0]})\nfirst, looks = apart[:1], apart['a'].to_numpy()",
        "table.loc[0, 'a'] = 10\ntable.loc[0, 'b'] = pd.Timestamp('2021-01-01')\nunder[0] = 4\nseen = column[0], str(moments[0])[:4], "
        "over[0]\nvalues = table['a'].to_numpy()\napart.loc[0, 'a'] = 3\nkept = first.loc[0, 'a'], looks[0]",
        "seen == (10, '2021', 4) and column[0] == 10 and under[0] == over[0] == 4 and kept == (1, 1) == (first.loc[0, 'a'], looks[0]) "
        "and (table.__setattr__('tag', None) or table.loc.__setitem__((1, 'a'), 6) or values[1]) == 6 == column[1]",
    ),
    "views of arrays with gaps, and of those in another order": (
        "import numpy as np\ngaps = np.arange(24.0).reshape(4, 6)[::2, ::3]\nturned = np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)\n"
        "thin, objects = np.arange(4000.0).reshape(4, 1000)[:, ::900], np.array([None, [1], 2], dtype=object)\n"
        "fixed = np.zeros(2)\nfixed.flags.writeable = False",
        "row, column, across, point = gaps[1], gaps[:, 1], turned[:, 1], thin[::-1].T\nflat = gaps.ravel()\nflat += 1\n"
        "rest = objects[1:]\nflags = gaps.flags.contiguous, turned.flags.contiguous, fixed.flags.writeable",
        "flags == (False, False, False) and gaps[0, 0] == 0 and flat[0] == 1 and exec('row[0] = 50; column[0] = 60; across[0, 0] = 70; "
        "point[1, 0] = 80; rest[1] = 90') is None and gaps.tolist() == [[0, 60], [50, 15]] and turned[0, 1, 0] == 70 and "
        "thin[3, 1] == 80 and objects[2] == 90",
    ),
    "what an object held before": (
        "import numpy as np\nclass Box: pass\nbox = Box()\nbox.items, box.data = [1], np.zeros(2)\nitems, data = box.items, box.data",
        "box.items.append(2)\nbox.data[0] = 5\nbox.items = box.data = None",
        "items == [1, 2] and data[0] == 5 and box.items is None",
    ),
    "objects that change places and look alike": (
        "class C: pass\na, b = C(), C()\npair, named = [a, b], {'p': a, 'q': b}",
        "pair.reverse()\nnamed['p'], named['q'] = named['q'], named['p']",
        "pair[0] is b and pair[1] is a and named['p'] is b and named['q'] is a",
    ),
    "weak references": (
        "import weakref\nclass A:\n    def go(self): self.gone = True\na = A()\na.x = 0\nref, proxy, method = "
        "weakref.ref(a), weakref.proxy(a), weakref.WeakMethod(a.go)\nof_none = weakref.ref(A())",
        "ref().x += 1\nproxy.x += 1\nmethod()()\nseen = a.x, of_none()",
        "seen == (2, None) and a.x == proxy.x == 2 and ref() is a and a.gone and method()() is None",
    ),
    "members of an enumeration": (
        "import enum\nclass Planet(enum.Enum):\n    EARTH = [1]\n    def __init__(self, value): self.visits = []\n"
        "earth, counts = Planet.EARTH, {Planet.EARTH: 1}\nearth.visits.append(1)",
        "seen = earth is Planet.EARTH, counts[Planet.EARTH]\nearth.visits.append(2)\nearth.value.append(2)\nearth.name_day = 'x'\n"
        "Planet.total = 9\nagain = Planet.EARTH",
        "seen == (True, 1) and earth.visits == [1, 2] and Planet.EARTH.value == [1, 2] and again is earth and earth.name_day == 'x' "
        "and Planet.total == 9",
    ),
    "containers with ways of their own": (
        "class Twice(list):\n    def append(self, x): super().append(2 * x)\n    def extend(self, many): [self.append(x) for x in many]\n"
        "class Table(dict):\n    def __setitem__(self, k, v): super().__setitem__(k, 2 * v)\nclass Bag(set):\n"
        "    def __init__(self, label): self.label = label\nt, d, s = Twice(), Table(), Bag('b')\nt.append(1)\nd['k'] = 1\ns.add(1)\nheld = [t, d, s]",
        "t.append(2)\nd['j'] = 2\ns.add(2)\nt.note = 'n'",
        "t == [2, 4] and d == {'k': 2, 'j': 4} and s == {1, 2} and s.label == 'b' and t.note == 'n' and held[0] is t and held[2] is s",
    ),
    "attributes of arrays, numbers and texts": (
        "import numpy as np\nclass Signal(np.ndarray): pass\nclass Metres(float): pass\nclass Name(str): pass\nclass Pair(tuple): pass\n"
        "s, m, n, p = np.zeros(2).view(Signal), Metres(1), Name('a'), Pair((1, 2))\nfor one in (s, m, n, p): one.unit = 'm'\nheld = [s, m, n, p]",
        "seen = [one.unit for one in held]\nfor one in held: one.unit = 'km'\ns[0] = 1",
        "seen == ['m'] * 4 and [one.unit for one in (s, m, n, p)] == ['km'] * 4 and all(a is b for a, b in zip(held, (s, m, n, p))) and s[0] == 1",
    ),
    "objects that are the only one of their class, or have no equal": (
        "class Only:\n    one = None\n    def __new__(cls):\n        if cls.one is None: cls.one = object.__new__(cls); cls.one.n = 0\n"
        "        return cls.one\nclass Odd:\n    __hash__ = object.__hash__\n    def __eq__(self, other): raise RuntimeError('no')\n"
        "class Any:\n    def __getattr__(self, name): raise KeyError(name)\nonly, odd, anything = Only(), Odd(), Any()\nheld = {odd: 1}",
        "Only().n += 1\nodd.x = 1\nanything.x = held[odd]\nsame = Only() is only",
        "same and only.n == 1 and Only() is only and odd.x == 1 and held[odd] == 1 and anything.x == 1",
    ),
    "exceptions, buffers and cached properties": (
        "import functools\nimport io\nclass Odd(Exception):\n    def __init__(self, a, b): super().__init__(a); self.b = b\n"
        "try:\n    try: 1 / 0\n    except Exception as first: raise Odd(1, [2]) from first\nexcept Odd as caught: error = caught\n"
        "text = io.StringIO('a')\nclass C:\n    @functools.cached_property\n    def made(self): return [0]\nc, parts = C(), error.b",
        "seen = type(error.__cause__).__name__, error.args\nerror.b.append(3)\ntext.seek(1); text.write('b')\nc.made.append(1)",
        "seen == ('ZeroDivisionError', (1,)) and parts == [2, 3] and error.b is parts and text.getvalue() == 'ab' and c.made == [0, 1]",
    ),
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_graph_stays_one_graph(notebook, kind):
    made, done, fact = GRAPHS[kind]
    notebook.cell(made)
    before = dict(notebook.namespace)
    ran = notebook.rank(done)
    assert eval(fact, notebook.namespace)
    assert ran.left_behind == {}
    assert ran.unpacked.left_behind == {}
    assert [name for name in before if notebook[name] is not before[name]] == []


MODULE = """
import functools
seen, n, gone = [], 1, 1
def put(x, into=seen, *, also=[]):
    into.append(x)
    also.append(x)
    put.calls += 1
    return list(also)
put.calls = 0
def counter():
    k = 0
    def inc():
        nonlocal k
        k += 1
        return k
    return inc
inc = counter()
class Part: pass
class Whole:
    _count, part = 0, Part()
    @classmethod
    def make(cls, *, log=[]): cls._count += 1; log.append(cls._count); return list(log)
    def go(self): return 1
def other(): return 1
"""


def test_what_functions_and_classes_of_a_module_hold_is_the_notebooks(notebook):
    (notebook.folder / "held.py").write_text(MODULE)
    with _on_path(notebook, "held"):
        notebook.cell(
            "import held\nheld.put(1); held.inc(); held.Whole.make(); held.Whole.part.x = 1\nheld.other = lambda: 2"
        )
        notebook.rank(
            "also, count, log = held.put(2), held.inc(), held.Whole.make()\nheld.Whole.part.x += 1\nheld.Whole.go = lambda self: 3\n"
            "told = held.other()\ndel held.gone\nheld.new = held.put"
        )
        assert (notebook["also"], notebook["count"], notebook["log"], notebook["told"]) == ([1, 2], 2, [1, 2], 2)
        held = notebook["held"]
        assert (list(held.seen), held.put.calls, held.put(3), held.inc()) == ([1, 2], 2, [1, 2, 3], 3)
        assert held.put.__defaults__[0] is held.seen
        assert (held.Whole._count, held.Whole.part.x, held.Whole().go()) == (2, 2, 3)
        assert not hasattr(held, "gone")
        assert held.new is held.put


def test_a_module_that_the_cell_imports_first_is_there_afterwards_with_its_state(notebook):
    (notebook.folder / "later.py").write_text(MODULE)
    (notebook.folder / "pack").mkdir()
    (notebook.folder / "pack" / "__init__.py").write_text("store = []\n")
    (notebook.folder / "pack" / "inner.py").write_text("from . import store\ndef put(x): store.append(x)\n")
    (notebook.folder / "computed.py").write_text("seen = []\n")
    with _on_path(notebook, "later", "pack", "computed"):
        notebook.rank(
            "import importlib, later, pack.inner\nfrom later import Whole, put as keep, seen as listed\nkeep(1); later.inc(); later.n = 5\n"
            "pack.inner.put(later.inc())\nimportlib.import_module('comp' + 'uted').seen.append(1)"
        )
        later = notebook["later"]
        assert (list(later.seen), later.n, later.put.calls, later.inc(), later.put(2)) == ([1], 5, 1, 3, [1, 2])
        assert later.seen == [1, 2]
        assert notebook["listed"] is later.seen
        assert notebook["Whole"] is later.Whole
        assert notebook["pack"].store == [2]
        notebook["pack"].inner.put(3)
        assert notebook["pack"].store == [2, 3]
        assert notebook.cell("import computed")["computed"].seen == [1]


def test_parts_of_a_package_that_the_notebook_has_imported_are_there(notebook):
    notebook.cell("import xml.dom.minidom")
    notebook.rank("tag = xml.dom.minidom.parseString('<a/>').documentElement.tagName")
    assert notebook["tag"] == "a"
    notebook.rank("import xml.sax.saxutils")
    assert notebook.cell("quoted = xml.sax.saxutils.escape('<')")["quoted"] == "&lt;"


def test_what_a_cached_function_keeps_is_named(notebook):
    notebook.cell(
        "import functools, logging\n@functools.lru_cache\ndef f(x): return [x]\nf(1)\nlog = logging.getLogger('a.b')\nlog.setLevel(10)"
    )
    notes = notebook.capture("f(1); log.info('x')").report.notes
    assert notes == (
        "f keeps the result of an earlier call, which the ranks make anew",
        "the logger a.b is the ranks' own, without the level and handlers that it has in the notebook",
    )


@pytest.mark.parametrize(
    ("made", "cell", "sentence"),
    [
        (
            "import itertools\na, b = itertools.tee([1, 2])",
            "next(a)",
            "a .an iterator that itertools.tee made.*inside the cell",
        ),
        (
            "import weakref\nclass A: pass\na = A()\nf = weakref.finalize(a, print)",
            "f.alive",
            "f .a weakref.finalize.*inside the cell",
        ),
        (
            "class N: pass\nhead = N()\nfor _ in range(100_000): n = N(); n.next = head; head = n",
            "head",
            "head.*nested too deeply",
        ),
        (
            "import numpy as np, pandas as pd\nv = np.ones(2)\ns = pd.Series(v, copy=False)\nt = s[:]",
            "v[0] = 2; s.sum(), t.sum()",
            "shares its memory with several tables of pandas.*pass a copy",
        ),
    ],
)
def test_what_would_come_apart_is_refused(notebook, made, cell, sentence):
    from hops_magic.errors import CaptureError

    notebook.cell(made)
    with pytest.raises(CaptureError, match=sentence):
        notebook.capture(cell)


class _on_path:
    """The notebook's folder is where it imports from; what it has imported is forgotten afterwards."""

    def __init__(self, notebook, *modules):
        self._folder, self._modules = str(notebook.folder), modules

    def __enter__(self):
        import importlib
        import sys

        sys.path.insert(0, self._folder)
        importlib.invalidate_caches()

    def __exit__(self, *_):
        import sys

        sys.path.remove(self._folder)
        for name in [name for name in sys.modules if name.partition(".")[0] in self._modules]:
            del sys.modules[name]
