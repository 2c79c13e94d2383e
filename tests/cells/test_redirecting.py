"""What points to an object that came back points to the notebook's own one."""

import functools
from collections import namedtuple

from hops_magic.cells.redirecting import redirect


class Part:
    def go(self):
        return self


def test_whatever_holds_the_returned_object_holds_the_original_afterwards():
    pair_of = namedtuple("Pair", "part rest")
    returned, original, other = Part(), Part(), Part()
    pair = (returned, 1)
    deep = [pair_of((pair, other), [pair]), {"t": pair}, {returned: 1, other: 2}, {returned, other}, frozenset({pair})]
    method, partial, holder = returned.go, functools.partial(max, returned, key=returned), Part()
    holder.method, holder.part = method, returned

    def default(part=returned, *, pairs=pair):
        return part, pairs

    def closure():
        return returned

    held = {"pair": pair, "deep": deep, "method": method, "partial": partial, "holder": holder}
    del pair, method
    redirect([(returned, original)])
    assert held["pair"][0] is original
    named = deep[0]
    assert type(named) is pair_of
    assert named.part[0] is named.rest[0] is deep[1]["t"] is held["pair"] is next(iter(deep[4]))
    assert named.part[1] is other
    assert list(deep[2]) == [original, other]
    assert deep[3] == {original, other}
    assert held["method"].__self__ is original
    assert held["holder"].method() is held["holder"].part is original
    assert partial.args == (original,)
    assert partial.keywords == {"key": original}
    assert default() == (original, held["pair"])
    assert closure() is original
