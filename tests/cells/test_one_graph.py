"""What a cell changes in one way is changed in all: in its process, and afterwards in the notebook."""

import pytest

# each: made in the notebook, done by the cell, and what is true of the notebook then
SHARED = {
    "a view and its base": (
        "import numpy as np\na = np.zeros(10)\nv = a[2:5]",
        "v[:] = 1\ntotal = a.sum()",
        "total == 3 and a.sum() == 3 and v.base is a",
    ),
    "an array turned round, and one inside a list": (
        "import numpy as np\nM = np.arange(6.0).reshape(2, 3)\nT, parts, back = M.T, [M, M[0]], M[::-1, ::2]",
        "T[0, 0] = 50\nparts[1][1] = 7\nback[0, 1] = 9\nseen = M.tolist()",
        "seen == M.tolist() == [[50, 7, 2], [3, 4, 9]] and parts[0] is M",
    ),
    "the fields of records": (
        "import numpy as np\nr = np.zeros(3, [('n', 'i4'), ('x', 'f8')])\nx = r['x']",
        "x[1] = 2.5\nr['n'] = 4\nsame = r['x'][1] == 2.5",
        "same and x[1] == r['x'][1] == 2.5 and r['n'].tolist() == [4, 4, 4]",
    ),
    "an array of objects and a part of it": (
        "import numpy as np\no = np.array([[1], None, 'a'], dtype=object)\np = o[1:]",
        "p[0] = 5\no[0].append(2)",
        "o[1] == p[0] == 5 and o[0] == [1, 2]",
    ),
    "a view that the cell makes": (
        "import numpy as np\na = np.zeros((4, 3))\nwide = np.arange(10)[::2]",
        "row, column, second = a[1], a[:, 2], wide[1:]",
        "exec('row[0] = 1; column[3] = 2; second[0] = 9') or (a[1, 0], a[3, 2], wide[1]) == (1, 2, 9)",
    ),
    "an array and the bytes that it was made of": (
        "import numpy as np\nraw = bytearray(8)\nm = memoryview(raw)[2:6]",
        "m[0] = 5\nraw[7] = 1\nseen = bytes(m)",
        "seen == b'\\x05\\0\\0\\0' and raw[2] == m[0] == 5 and raw[7] == 1",
    ),
    "variables of a closure": (
        "def make():\n    k, seen = 0, []\n    def inc():\n        nonlocal k\n        k += 1; seen.append(k)\n"
        "        return k\n    return inc, seen, lambda: k\ninc, seen, now = make()",
        "inc()\nhere = now()",
        "here == now() == 1 and seen == [1] and inc() == now() == 2 and seen == [1, 2]",
    ),
    "a function that is a variable of its own": (
        "def make():\n    calls = []\n    def walk(n):\n        calls.append(n)\n        return n and walk(n - 1)\n"
        "    return walk, calls\nwalk, calls = make()",
        "walk(2)",
        "calls == [2, 1, 0] and walk(0) == 0 and calls == [2, 1, 0, 0]",
    ),
    "partials, bound methods and default arguments": (
        "from functools import partial\nlog = []\nclass Writer:\n    def __init__(self, where): self.where = where\n"
        "    def go(self): self.where.append(9)\nadd, bound, kept = partial(log.append), Writer(log).go, {'log': log}\n"
        "def note(x, into=log, *, also=log): into.append(x); also.append(-x)",
        "add(5)\nbound()\nnote(1)\nkept['n'] = 1",
        "log == [5, 9, 1, -1] and kept['log'] is log and kept['n'] == 1 and bound.__self__.where is log",
    ),
    "attributes of classes": (
        "class Model:\n    made = []\n    count = 0\n    old = 1\n    def __init__(self): self.made.append(self)\n"
        "made = Model.made\nfirst = Model()",
        "second = Model()\nModel.count += 1\nModel.extra = 'x'\ndel Model.old\nfirst.name = 'f'",
        "made is Model.made and made == [first, second] and Model.count == 1 and Model.extra == 'x' and first.name == 'f' "
        "and not hasattr(Model, 'old') and type(second) is Model",
    ),
    "attributes of functions": (
        "def count():\n    count.calls.append(1)\n    count.total = len(count.calls)\ncount.calls = calls = []",
        "count()",
        "calls == [1] and count.calls is calls and count.total == 1",
    ),
    "objects inside tuples, sets and keys": (
        "class Node:\n    pass\na = Node(); a.n = 0\npair, group, table = (1, a), {a}, {a: 'a'}",
        "pair[1].n += 1\nnext(iter(group)).n += 1\nnext(iter(table)).n += 1\nnew = (a, [pair])",
        "a.n == 3 and pair[1] is a and a in group and table[a] == 'a' and new[0] is a and new[1][0][1] is a",
    ),
    "slots, and containers of the standard library": (
        "from collections import OrderedDict, defaultdict, deque\nfrom types import SimpleNamespace\nimport array, random\n"
        "class P:\n    __slots__ = ('x', 'y')\nq, o, d, n, c = deque([1], maxlen=2), OrderedDict(a=1), defaultdict(list), "
        "SimpleNamespace(a=1), array.array('i', [1])\np, r = P(), random.Random(1)\np.x = q\nheld = [q, o, d, n, c, p, r]",
        "q.extend([2, 3])\no.move_to_end('a')\no['b'] = 2\nd['k'].append(1)\nn.b = n\nc.append(2)\np.x = o\nr.seed(5)",
        "held == [q, o, d, n, c, p, r] and [a is b for a, b in zip(held, [q, o, d, n, c, p, r])] == [True] * 7 and "
        "list(held[0]) == [2, 3] and held[1]['b'] == 2 and held[2]['k'] == [1] and held[3].b is n and "
        "list(held[4]) == [1, 2] and held[5].x is o and held[6].random() == random.Random(5).random()",
    ),
    "generators of random numbers": (
        "import numpy as np\nrng = np.random.default_rng(3)\nbits = rng.bit_generator\ndraw = rng.normal",
        "first = draw()",
        "np.isclose(first, np.random.default_rng(3).normal()) and rng.bit_generator is bits and "
        "rng.normal() == np.random.default_rng(3).normal(size=2)[1] and draw.__self__ is rng",
    ),
    "ways to look at a dictionary": (
        "from types import MappingProxyType\nd = {'a': 1}\nkeys, items, shown = d.keys(), d.items(), MappingProxyType(d)",
        "d['b'] = 2\nseen = list(keys), len(items), shown['b']",
        "seen == (['a', 'b'], 2, 2) and list(keys) == ['a', 'b'] and shown['b'] == 2 and keys == d.keys()",
    ),
    "an object whose name means something else at the end": (
        "x = [1]\nd = {'x': x}\ngone = {'n': 0}\nalias = gone",
        "x.append(2)\nx = 'other'\ngone['n'] = 5\ndel gone",
        "x == 'other' and d['x'] == [1, 2] and alias == {'n': 5} and 'gone' not in globals()",
    ),
    "things that contain each other": (
        "a, b = [], {}\na.append(b); b['a'] = a\nclass N: pass\nn = N(); n.me, n.all = n, [n, a]",
        "b['n'] = 1\nn.all.append(n)",
        "a[0] is b and b['a'] is a and b['n'] == 1 and n.me is n and n.all[0] is n and n.all[1] is a and n.all[2] is n",
    ),
}


@pytest.mark.parametrize("kind", SHARED)
def test_what_is_shared_stays_shared(notebook, kind):
    made, done, fact = SHARED[kind]
    notebook.cell(made)
    before = dict(notebook.namespace)
    ran = notebook.rank(done)
    assert eval(fact, notebook.namespace)
    assert ran.left_behind == {}
    assert ran.unpacked.left_behind == {}
    kept = {name for name in before if name in notebook.namespace and notebook[name] is not before[name]}
    assert kept <= {"x"}  # whose name was given to something else


def test_an_object_that_cannot_take_over_its_state_is_named_and_the_rest_is_as_it_was(notebook):
    notebook.cell("""
class Meta(type):
    def __setattr__(cls, name, value):
        if name == 'size' and value == 2: raise AttributeError('fixed here')
        super().__setattr__(name, value)
class A(metaclass=Meta):
    size = 1
log = []""")
    ran = notebook.rank("type.__setattr__(A, 'size', 2)\nlog.append(A.size)")
    assert ran.unpacked.left_behind == {"A": "it keeps its old state, AttributeError: fixed here"}
    assert notebook["log"] == [2]


def test_parts_of_an_array_that_do_not_overlap_travel_apart(notebook):
    notebook.cell("import numpy as np\ndata = np.zeros((1000, 40))\nx, y, few = data[:, :2], data[:, 2], data[:5]")
    assert notebook.capture("x, y").report.size_bytes < 30_000
    assert notebook.capture("few").report.size_bytes < 3_000


def test_tables_that_pandas_made_of_each_other_stay_apart(notebook):
    notebook.cell(
        "import pandas as pd\ntable = pd.DataFrame({'a': [1.0, 2.0, 3.0]})\nfirst = table[:2]\nother = table.copy(False)"
    )
    notebook.rank("first.iloc[0, 0] = 9\nseen = table.a[0], other.a[0]")
    assert notebook["seen"] == (1, 1)
    assert (notebook["first"].a[0], notebook["table"].a[0]) == (9, 1)


def test_a_masked_array_that_shares_memory_is_refused(notebook):
    from hops_magic.errors import CaptureError

    notebook.cell("import numpy as np\na = np.zeros(4)\nm = np.ma.array(a, copy=False)")
    with pytest.raises(
        CaptureError, match=r"numpy\.MaskedArray that shares its memory with another array.*pass a copy of it"
    ):
        notebook.capture("m[0] = 1\na.sum()")


def test_what_cannot_be_updated_in_place_is_replaced_under_its_name(notebook):
    notebook.cell("import numpy as np\na = np.zeros(6)\nold = a")
    notebook.rank("a.shape = (2, 3)")
    assert notebook["a"].shape == (2, 3)
    assert notebook["old"].shape == (6,)


def test_with_out_what_is_reached_from_there_is_updated_too(notebook):
    notebook.cell("log, other = [], []\nholder = {'log': log}")
    notebook.rank("log.append(1)\nother.append(1)\nholder['n'] = 2", out=("holder",))
    assert notebook["holder"] == {"log": [1], "n": 2}
    assert notebook["holder"]["log"] is notebook["log"]
    assert notebook["other"] == []
