from __future__ import annotations

import pytest

from hops_magic.widgets.sanitize import sanitize


@pytest.mark.parametrize(
    ("html", "kept"),
    [
        ("<b>a</b><script>alert(1)</script>", "<b>a</b>"),
        ("<img src=x onerror=alert(1)>", "<img>"),
        ('<img src="data:image/png;base64,AA==" width="3">', '<img src="data:image/png;base64,AA==" width="3">'),
        ('<a href="javascript:alert(1)">link</a>', "link"),
        ("<div style='position:fixed' onclick='x()' title='&quot;t'>a</div>", '<div title="&quot;t">a</div>'),
        ("<iframe srcdoc='<script>x</script>'></iframe>after", "after"),
        ("<svg><script>x</script></svg><style>*{}</style>after", "after"),
        ("<table><tr><td>1<td>2", "<table><tr><td>1<td>2</td></td></tr></table>"),
        ("</div></b>loose", "loose"),
        ("a &lt;b&gt; & <unknown>c</unknown>", "a &lt;b&gt; &amp; c"),
        ("<script/>text", "text"),
        ("<!--[if IE]><script>x</script><![endif]-->a", "a"),
        ("<pre>1 &lt; 2</pre>", "<pre>1 &lt; 2</pre>"),
    ],
)
def test_only_the_harmless_is_kept(html: str, kept: str) -> None:
    assert sanitize(html) == kept
