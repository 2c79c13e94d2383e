"""What a rank displays travels as MIME bundles."""

import base64
import json

import pandas as pd
from ringing import on_ring

from hops_magic.frameworks.display import capture_display, format_value


def displayed(body, place):
    """Run a body in a process of its own, as ranks are; returns the bundles."""

    def on_rank(ring):
        events = []
        with capture_display(events.append, ring.rank):
            body()
        return [dict(event.data) for event in events]

    return on_ring(2, on_rank, place)[0]


def test_display_of_objects_and_frames(tmp_path):
    def body():
        display(pd.DataFrame({"x": [1, 2]}))  # noqa: F821 (as in a notebook)
        from IPython.display import HTML
        from IPython.display import display as show

        show(HTML("<b>bold</b>"), {"a": 1})

    frame, bold, plain = displayed(body, tmp_path)
    assert "<table" in frame["text/html"]
    assert bold["text/html"] == "<b>bold</b>"
    assert plain["text/plain"] == "{'a': 1}"
    json.dumps([frame, bold, plain])


def test_figures_are_shown_when_asked_and_at_the_end(tmp_path):
    def body():
        import matplotlib.pyplot as plt

        plt.plot([1, 2])
        plt.show()
        plt.figure()

    shown = displayed(body, tmp_path)
    assert len(shown) == 2
    for bundle in shown:
        assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")


def test_the_value_of_a_cell_is_formatted_as_a_notebook_does():
    assert format_value([1, 2])["text/plain"] == "[1, 2]"
    assert "<table" in format_value(pd.DataFrame({"x": [1]}))["text/html"]
