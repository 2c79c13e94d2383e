"""Objects of the notebook that went to a rank come back as themselves.

Both sides number what travels alike. What a rank sends back names the objects that had come from the notebook by their
numbers, beside what is in them now. While that is unpickled, each number stands for the notebook's own object, wherever it
is: in a list, behind a closure, in a tuple. Only when all is there does each take over what the rank's object had become.
"""

from __future__ import annotations

import bisect
import functools
import io
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextvars import ContextVar
from typing import Any

import cloudpickle

from hops_magic.cells.adopting import Update, adopt, adopt_class, bare, can_adopt, is_fixed, take_over
from hops_magic.cells.arrays import address_of_data, extent
from hops_magic.cells.layouts import Layout, layout_of
from hops_magic.cells.pickled import Pickled
from hops_magic.cells.redirecting import redirect
from hops_magic.cells.reducing import builtin_of, set_enum, set_items, set_members
from hops_magic.cells.strides import translated
from hops_magic.cells.tables import InTable
from hops_magic.cells.travel import Pickler, Reducer
from hops_magic.cells.views import memory_at, part_at, view

_BUILTIN = (list, dict, set, bytearray)
_CODES: dict[type, int] = {kind: 2 * code for code, kind in enumerate(_BUILTIN)}
_STEP = 2 * len(_BUILTIN)

_home: ContextVar[Homecoming] = ContextVar("hops_home")


class ReturnPickler(Pickler):
    """Pickles on a rank, by number, what came from the notebook.

    Parameters
    ----------
    numbers
        By id, the numbers of what came from the notebook.
    changed
        Ids of those that may have changed.
    named
        Ids of those that have names in the notebook.
    """

    def __init__(
        self,
        file: io.BytesIO,
        namespace: Mapping[str, Any],
        reducers: Sequence[Reducer],
        buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None,
        layout: Layout | None = None,
        *,
        numbers: Mapping[int, int],
        changed: Set[int],
        named: Set[int],
    ) -> None:
        super().__init__(file, namespace, reducers, buffer_callback, layout)
        self._numbers, self._changed, self._named = numbers, changed, named
        self._said: set[int] = set()

    def persistent_id(self, obj: Any) -> Any:
        """Return number and, once, content of a list, dictionary or set that came from the notebook.

        Called for each object there is: so number, kind and whether it may have changed are one integer.
        """
        code = _CODES.get(type(obj))
        if code is None or (number := self._numbers.get(id(obj))) is None:
            return None
        place = number * _STEP + code + (id(obj) in self._changed)
        if number in self._said:
            return place
        self._said.add(number)
        return place, type(obj)(obj)

    def reducer_override(self, obj: Any) -> Any:
        made = super().reducer_override(obj)
        # a part of a framework's object is made with it; the notebook's own gets its state from there
        if id(obj) not in self._numbers or (id(obj) in self.inner - self._named and not isinstance(obj, type)):
            return made
        if made is NotImplemented:
            reduce = self.dispatch_table.get(type(obj))
            made = reduce(obj) if reduce is not None else obj.__reduce_ex__(5)
        if isinstance(made, str):  # found by name
            return made
        make, arguments, *rest = made
        state, items, pairs, setter = (*rest, None, None, None, None)[:4]
        content = (state, items and list(items), pairs and list(pairs), setter)
        is_of_framework = any(applies(obj) for applies, _ in self._reducers)
        named = (self._numbers[id(obj)], id(obj) in self._changed, is_of_framework, make, arguments)
        return (
            (_known, named) if not any(part is not None for part in content) else (_known, named, content, None, None, _fill)
        )


class HomeUnpickler(pickle.Unpickler):
    """Unpickles in the notebook what :class:`ReturnPickler` made."""

    def persistent_load(self, named: Any) -> Any:
        place, content = named if type(named) is tuple else (named, None)
        number, code = divmod(place, _STEP)
        return _home.get().container(number, _BUILTIN[code // 2], bool(code % 2), content)


class Homecoming:
    """Joins what a rank sends back to the notebook's own objects.

    Parameters
    ----------
    originals
        The notebook's own objects by number; what is not among them is made anew.
    """

    def __init__(self, originals: Mapping[int, Any]) -> None:
        self._originals = originals
        self._anew: dict[int, Any] = {}
        # by id, originals that are named, each with what it is to become; None if it stays as it is
        self._drafts: dict[int, tuple[Any, Any]] = {}
        self._replaced: list[tuple[Any, Any, bool]] = []
        self.failures: list[tuple[Any, Exception]] = []
        """Originals that could not take over what they were to become."""

    def load(self, load: Callable[[], Any]) -> Any:
        """Call ``load``, which unpickles."""
        token = _home.set(self)
        try:
            return load()
        finally:
            _home.reset(token)

    def original(self, number: int) -> Any:
        """Return the notebook's own object of this number; None if it is not here any more."""
        found = self._originals.get(number)
        return found.now() if isinstance(found, InTable) else found

    def container(self, number: int, kind: type, is_changed: bool, content: Any) -> Any:
        """Return a list, dictionary or set by its number; ``content`` comes with one of its mentions."""
        original = self.original(number)
        if type(original) is kind:
            if content is not None:
                self._drafts[id(original)] = (original, content if is_changed else None)
            return original
        made = self._anew.setdefault(number, kind())
        if content is not None:
            made.extend(content) if kind in (list, bytearray) else made.update(content)
        return made

    def known(self, number: int, is_changed: bool, is_of_framework: bool, make: Callable[..., Any], arguments: Any) -> Any:
        """Return the original of this number, and make what it is to become; make it anew where there is none."""
        original = self.original(number)
        if original is None:
            return make(*arguments)
        if id(original) in self._drafts:  # what is inside itself is made twice
            return original
        if isinstance(original, type) and is_changed:
            self._drafts[id(original)] = (original, _ClassContent())
            return original
        if is_of_framework and not isinstance(original, type):
            # it may be a part of something that is being made, which must not get hold of the notebook's own
            made = make(*arguments)
            self._replaced.append((original, made, is_changed))
            return made
        if not is_changed or is_fixed(original):
            self._drafts[id(original)] = (original, None)
            return original
        made = make(*arguments)
        if made is original:  # the only one of its kind, or found by its name: then it has no content
            self._drafts[id(original)] = (original, _ONLY)
            return original
        if can_adopt(original, made):
            self._drafts[id(original)] = (original, made)
            return original
        self._replaced.append((original, made, is_changed))
        return made

    def fill(self, thing: Any, content: Any) -> None:
        """Give a thing that was just made its content, or what an original is to become."""
        original, draft = self._drafts.get(id(thing), (None, None))
        if original is not thing:
            _fill_with(thing, *content)
        elif isinstance(draft, _ClassContent):
            draft.state, *_, draft.setter = content
        elif draft is _ONLY:
            if (draft := bare(original)) is not None:
                self._drafts[id(original)] = (original, draft)
                _fill_with(draft, *content)
        elif draft is not None:
            _fill_with(draft, *content)

    def is_original(self, value: Any) -> bool:
        """Whether a value that came is an object of the notebook."""
        original, _ = self._drafts.get(id(value), (None, None))
        return original is value

    def settle(self, updates: Iterable[Update]) -> dict[int, Any]:
        """Let the originals take over what they are to become, when all has come.

        Returns
        -------
        dict
            By id of what came in its place, an original that has taken over its state in a framework's way.
        """
        for original, draft in self._drafts.values():
            if draft is not None and draft is not _ONLY:
                try:
                    draft.give(original) if isinstance(draft, _ClassContent) else take_over(original, draft)
                except Exception as error:  # noqa: BLE001 (setting attributes runs code of any library; the other objects go on)
                    self.failures.append((original, error))
        pairs = [
            (made, original)
            for original, made, is_changed in self._replaced
            if (adopt(original, made, updates) if is_changed else type(original) is type(made))
        ]
        redirect(pairs, besides=self._replaced)
        return {id(made): original for made, original in pairs}


_ONLY = object()


class _ClassContent:
    """What a class of the notebook is to become."""

    def __init__(self) -> None:
        self.state: Any = None
        self.setter: Callable[[Any, Any], Any] | None = None

    def give(self, kind: type) -> None:
        if self.setter is cloudpickle.cloudpickle._class_setstate:
            adopt_class(kind, self.state[0])
        elif self.setter is set_enum:
            adopt_class(kind, self.state[0])
            set_members(kind, self.state[2])
        elif self.setter is not None:  # a framework's own
            self.setter(kind, self.state)


def _known(*named: Any) -> Any:
    return _home.get().known(*named)


def _fill(thing: Any, content: Any) -> None:
    _home.get().fill(thing, content)


def _fill_with(thing: Any, state: Any, items: Any, pairs: Any, setter: Callable[[Any, Any], Any] | None) -> None:
    """What pickle does with the further parts of what ``__reduce_ex__`` returned."""
    if builtin_of(type(thing)) is not None:
        set_items(thing, items, pairs)
    elif items or pairs:
        thing.extend(items) if hasattr(thing, "extend") else [thing.append(item) for item in items]
        for key, value in pairs or ():
            thing[key] = value
    if state is None:
        return
    if setter is not None:
        setter(thing, state)
    elif hasattr(type(thing), "__setstate__"):
        thing.__setstate__(state)
    else:
        attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
        if hasattr(thing, "__dict__"):
            vars(thing).update(attributes or {})
        else:  # a class with slots may have been made without them on the rank
            slots = {**(attributes or {}), **(slots or {})}
        for name, value in (slots or {}).items():
            setattr(thing, name, value)


def view_layout(lies: Mapping[int, Any], pickled: Iterable[Pickled]) -> dict[int, Callable[[Any], Any]]:
    """Tell how arrays are reduced on a rank: those that are views of the notebook's own become views of these again.

    Parameters
    ----------
    lies
        By number, the arrays that came from the notebook and are there as they are here, or will be.
    pickled
        The values in which the arrays are that are to be reduced.
    """
    pickled = list(pickled)
    arrays = [*{id(array): array for one in pickled for array in one.arrays}.values()]
    if not arrays:
        return {}
    import numpy as np

    known = {id(array) for array in lies.values()}
    made = [one for one in arrays if id(one) not in known and type(one) is np.ndarray]
    own = _outermost(lies) if made else []
    views: dict[int, Callable[[Any], Any]] = {}
    for array in made:
        low, high = extent(array)
        place = bisect.bisect_right(own, low, key=lambda base: base[0]) - 1
        if place >= 0 and high <= own[place][1] and array.dtype.hasobject == own[place][3].dtype.hasobject:
            views[id(array)] = functools.partial(_reduce_view, *own[place][2:])

    def travels(owner: object) -> bool:
        return any(owner is not one and one.memo.holds(owner) for one in pickled)

    blocks = [block for one in pickled for block in one.blocks]
    return {**layout_of([array for array in arrays if id(array) not in views], blocks, owned=travels), **views}


def _outermost(arrays: Mapping[int, Any]) -> list[tuple[int, int, int, Any]]:
    """Extent, number and array of those that do not lie inside others, in the order in which they lie and end."""
    spans = [(*extent(array), number, array) for number, array in arrays.items()]
    found: list[tuple[int, int, int, Any]] = []
    for span in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not found or span[1] > found[-1][1]:
            found.append(span)
    return found


def _reduce_view(number: int, base: Any, array: Any) -> Any:
    place = (array.shape, array.dtype, address_of_data(array) - address_of_data(base), array.strides, array.flags.writeable)
    # the elements themselves go along for a notebook that has lost the base
    return _view_of, (number, base.strides, place, array.copy())


def _view_of(number: int, strides: tuple[int, ...], place: tuple[Any, ...], elements: Any) -> Any:
    base = _home.get().original(number)
    if base is None or base.dtype.hasobject != elements.dtype.hasobject:
        return elements
    shape, dtype, offset, steps, writeable = place
    found = translated(offset, shape, steps, base, strides)
    if found is None:
        return elements
    offset, steps = found
    if base.dtype.hasobject:
        return part_at(base, shape, offset, steps)
    low, high = extent(base)
    memory = memory_at(low, high - low, [base], writeable=base.flags.writeable)
    return view(memory, type(elements), shape, dtype, offset + address_of_data(base) - low, steps, writeable)
