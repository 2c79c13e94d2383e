"""Which names a cell reads and binds, in every construct that can do either."""

import builtins
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hops_magic.cells.analysis import analyse
from hops_magic.errors import UsageError


def must(source):
    return analyse(source).must_read - set(dir(builtins))


def may(source):
    return analyse(source).reads - set(dir(builtins))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a + b", "a b"),
        ("a = 1\na", ""),
        ("a += 1", "a"),
        ("a[0] = b", "a b"),
        ("a.b.c = 1", "a"),
        ("a: int = b", "b"),
        ("a: kind = 1", "kind"),
        ("a = a + 1", "a"),
        ("a, (b, *c) = d\na, b, c", "d"),
        ("print(a := 1, a)", ""),
        ("[v for v in a if v > b]", "a b"),
        ("[v for w in a for v in w if c]", "a c"),
        ("{k: v for k, v in a}", "a"),
        ("v = 1\n[v for v in [v]]", ""),
        ("[(last := v) for v in a]\nlast", "a"),
        ("def f(v, w=a, *args, k=b, **kw): return v + c + args + kw", "a b c"),
        ("def f(): return f()", ""),
        ("def f():\n    def g(): return v\n    v = w\n    return g", "w"),
        ("@deco\ndef f(v: kind) -> back: pass", "deco kind back"),
        ("lambda v: v + a", "a"),
        ("class A(B, metaclass=M):\n    v = w\n    u = v\n    def f(self): return A, g", "B M w g"),
        ("class A:\n    v = 1\n    def f(self): return v", "v"),
        ("def f():\n    global g\n    g = 1\nf()\ng", ""),
        ("for i in a: b(i)\ni", "a b"),
        ("for i in a:\n    if i: break\n    else: continue\nelse: c", "a c"),
        ("while a: b; break", "a b"),
        ("with a as b, c(b) as d: d", "a c"),
        ("try: a\nexcept B as e: e\nelse: c\nfinally: d", "a B c d"),
        ("try:\n    import fast\nexcept ImportError:\n    fast = None\nfast", ""),
        ("import a.b, c as d\na, d", ""),
        ("from a import b as c\nc", ""),
        ("from a import *\nprint(b)", "b"),
        ("match a:\n    case {'k': v, **rest} if c: v, rest\n    case B(x=w) | [w]: w\n    case D.e: 1", "a c B D"),
        ("f'{a!r:{b}} {c}'", "a b c"),
        ("del a", ""),
        ("a = 1\ndel a\na", ""),
        ("async def f(): await a\nawait f()", "a"),
        ("x = (yield_ for yield_ in a)", "a"),
        ("def f(): return later\nlater = 1\nf()", ""),
        ("assert a, b", "a b"),
        ("raise A from b", "A b"),
        ("def f[T](v: T) -> T: return v" if "TypeAlias" in dir(__import__("ast")) else "0", ""),
    ],
)
def test_names_that_must_come_from_the_notebook(source, names):
    assert must(source) == set(names.split())


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("if a: x = 1\nx", "a x"),
        ("if a: x = 1\nelse: x = 2\nx", "a"),
        ("for i in a: x = i\nx", "a x"),
        ("try: x = a\nexcept: pass\nx", "a x"),
        ("with a: x = 1\nx", "a"),
        ("match a:\n    case 1: x = 1\nx", "a x"),
        ("a = 1\nif b: del a\na", "b a"),
        ("def f(): return later\nlater = 1", "later"),
    ],
)
def test_names_bound_on_some_ways_only_may_come_from_the_notebook(source, names):
    assert may(source) == set(names.split())


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a = b = 1\nfor c in []: pass\nimport d.e\nfrom f import g as h", "a b c d h"),
        ("def f(): x = 1\nclass A: y = 2\nz: int", "f A"),
        ("with o as p: q = 1\n(r := 2)\n[(s := t) for t in []]", "p q r s"),
        ("def f():\n    global g\n    g = 1", "g f"),
        ("match 1:\n    case [a, *b]: pass", "a b"),
        ("try: pass\nexcept E as e: pass", ""),
    ],
)
def test_names_that_the_cell_binds(source, names):
    assert set(analyse(source).binds) - {"e"} == set(names.split())


@pytest.mark.parametrize(
    ("source", "has_value"),
    [
        ("x", True),
        ("x;", False),
        ("x;  # shown not", False),
        ("x  # ;", True),
        ("x = 1", False),
        ("f(';')", True),
        ("", False),
    ],
)
def test_the_last_expression_is_shown_unless_silenced(source, has_value):
    assert analyse(source).has_value is has_value


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("x = (", "line 2"),
        ("a = 1\n\nfor: pass", "line 4"),
        ("return 1", "line 2"),
        ("a\n  b", "line 3"),
        ("%%time\nf()", "line 2: %%time cannot stand inside another cell magic"),
        ("x = 1\n%cd /tmp", "line 3: %cd works on the notebook"),
        ("x = 1\n%timeit -o f(x)", "line 3: %timeit takes only the options -n and -r"),
        ("x?", r"line 2: \? works on the notebook"),
        ("%%distributed\n1", "%%distributed"),
        ("a\0b", "null"),
    ],
)
def test_what_cannot_run_is_refused_with_its_line(source, sentence):
    with pytest.raises(UsageError, match=sentence):
        analyse(source, first_line=2)


@pytest.mark.parametrize(
    ("source", "reads", "binds"),
    [
        ("!ls", "", ""),
        ("files = !ls {folder} $name $$HOME", "folder name", "files"),
        ("%time y = f(x)", "f x", "y"),
        ("%timeit -n 3 f(x)", "f x", ""),
        ("%timeit -n3 -r 2 f(x)", "f x", ""),
        ("%time -n + x", "n x", ""),
        ("%matplotlib inline", "", ""),
        ("x = 5 % 3\ny = 'a?' != '!b'", "", "x y"),
        ("if a:\n    !echo {b}\n    %time c()", "a b c", ""),
    ],
)
def test_ipython_syntax(source, reads, binds):
    found = analyse(source)
    assert (found.reads | found.may_read) - set(dir(builtins)) == set(reads.split())
    assert set(found.binds) == set(binds.split())


NAMES = st.sampled_from("abcd")
SIMPLE = st.one_of(
    st.builds("{} = {}".format, NAMES, NAMES),
    st.builds("{} += {}".format, NAMES, NAMES),
    st.builds("{} = [{} for {} in [{}]]".format, NAMES, NAMES, NAMES, NAMES),
    st.builds("def {}({}=0): return {}".format, NAMES, NAMES, NAMES),
    st.builds("{}".format, NAMES),
    st.builds("for {} in [{}]: {}".format, NAMES, NAMES, NAMES),
    st.builds("if {}: {} = 1".format, NAMES, NAMES),
)


@given(st.lists(SIMPLE, max_size=8))
def test_a_cell_runs_with_nothing_but_the_names_it_reads(statements):
    source = "\n".join(statements)
    found = analyse(source)
    with contextlib.suppress(TypeError):  # one cannot add a function: what comes before it has found its names
        exec(compile(source, "<cell>", "exec"), dict.fromkeys(found.reads, 1))
    assert found.must_read <= found.reads
