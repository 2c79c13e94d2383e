"""HTML of others, cut down to what cannot act: text, tables, lists and pictures that hold their own data."""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser

from hops_magic.widgets.plain import clean

_KEPT = frozenset(  # names read better as words than as sixty strings
    "abbr b blockquote br caption code col colgroup dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li "  # noqa: SIM905
    "mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var".split()
)
_VOID = frozenset(("br", "col", "hr", "img"))
_DROPPED_WITH_CONTENT = frozenset(
    "script style iframe object embed template svg math form textarea select title noscript noembed "  # noqa: SIM905
    "noframes xmp plaintext head video audio canvas".split()
)
_ATTRIBUTES = frozenset(("align", "alt", "colspan", "dir", "height", "rowspan", "scope", "title", "width", "open"))
_PICTURES = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/gif;base64,")


def sanitize(html: str) -> str:
    """Keep only harmless elements and attributes; everything is closed that was opened."""
    cutter = _Cutter()
    cutter.feed(html)
    cutter.close()
    return cutter.result()


class _Cutter(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._open: list[str] = []
        self._dropping: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED_WITH_CONTENT:
            self._dropping.append(tag)
        if self._dropping or tag not in _KEPT:
            return
        kept = "".join(f' {name}="{escape(value or "")}"' for name, value in attrs if _is_kept(tag, name, value or ""))
        self._parts.append(f"<{tag}{kept}>")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _DROPPED_WITH_CONTENT:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._dropping:
            del self._dropping[self._dropping.index(tag) :]
        elif not self._dropping and tag in self._open:
            while (last := self._open.pop()) != tag:
                self._parts.append(f"</{last}>")
            self._parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._dropping:
            self._parts.append(escape(clean(data), quote=False))

    def result(self) -> str:
        return "".join([*self._parts, *(f"</{tag}>" for tag in reversed(self._open))])


def _is_kept(tag: str, name: str, value: str) -> bool:
    return name in _ATTRIBUTES or (tag == "img" and name == "src" and value.startswith(_PICTURES))
