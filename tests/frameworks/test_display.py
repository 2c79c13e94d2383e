"""What a rank displays travels as MIME bundles."""

import base64
import json

import cloudpickle
import IPython.display
import pandas as pd
from PIL import Image
from ringing import on_ring

from hops_magic.frameworks.display import MAX_BUNDLE_CHARS, capture_display, format_value
from hops_magic.runs.events import Cleared, Displayed
from hops_magic.runs.run import Run, advance_all


def displayed(body, place):
    """Run a body in a process of its own, as ranks are; returns the events."""

    def on_rank(ring):
        events = []
        with capture_display(events.append, ring.rank):
            body()
        return events

    return on_ring(2, on_rank, place)[0]


def bundles(body, place):
    return [dict(event.data) for event in displayed(body, place)]


def test_display_of_objects_and_frames(tmp_path):
    def body():
        display(pd.DataFrame({"x": [1, 2]}))  # noqa: F821 (as in a notebook)
        from IPython.display import HTML
        from IPython.display import display as show

        show(HTML("<b>bold</b>"), {"a": 1})

    frame, bold, plain = bundles(body, tmp_path)
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

    shown = bundles(body, tmp_path)
    assert len(shown) == 2
    for bundle in shown:
        assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")


def test_figures_and_pictures_given_to_display(tmp_path):
    def body():
        from matplotlib.figure import Figure

        display(Figure())  # noqa: F821
        display(Image.new("RGB", (2, 2)))  # noqa: F821

    figure, picture = bundles(body, tmp_path)
    assert base64.b64decode(figure["image/png"]).startswith(b"\x89PNG")
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")
    json.dumps([figure, picture])


def test_raw_bundles_and_objects_that_display_themselves(tmp_path):
    class Own:
        def _ipython_display_(self):
            from IPython.display import publish_display_data

            publish_display_data({"text/html": "<i>own</i>"}, {"a": 1})

    def body():
        display({"text/plain": "raw", "image/png": b"bytes"}, raw=True)  # noqa: F821
        display(Own())  # noqa: F821

    raw, own = displayed(body, tmp_path)
    assert dict(raw.data) == {"text/plain": "raw", "image/png": base64.b64encode(b"bytes").decode()}
    assert (dict(own.data), dict(own.metadata)) == ({"text/html": "<i>own</i>"}, {"a": 1})


def test_displays_are_updated_and_taken_back(tmp_path):
    def body():
        from IPython.display import clear_output, update_display

        handle = display("first", display_id=True)  # noqa: F821
        handle.update("second")
        display("named", display_id="n")  # noqa: F821
        update_display("renamed", display_id="n")
        clear_output(wait=True)
        display("after")  # noqa: F821
        clear_output()

    events = displayed(body, tmp_path)
    assert [type(event) for event in events] == [Displayed] * 4 + [Cleared, Displayed, Cleared]
    run = advance_all(Run(run_id="r"), events[:4])
    assert [shown.data["text/plain"] for shown in run.displays] == ["'second'", "'renamed'"]
    run = advance_all(run, events[4:6])
    assert [shown.data["text/plain"] for shown in run.displays] == ["'after'"]


def test_what_a_cell_imports_to_display_with_travels_back_as_ipythons_own(tmp_path):
    def on_rank(ring):
        with capture_display(lambda event: None, ring.rank):
            from IPython.display import clear_output, publish_display_data

            return cloudpickle.dumps((display, clear_output, publish_display_data))  # noqa: F821

    returned = cloudpickle.loads(on_ring(2, on_rank, tmp_path)[0])
    assert returned == (IPython.display.display, IPython.display.clear_output, IPython.display.publish_display_data)


def test_what_is_too_large_or_bound_to_its_process_is_not_sent(tmp_path):
    def body():
        import ipywidgets

        display(ipywidgets.IntSlider())  # noqa: F821
        display({"image/png": "x" * (MAX_BUNDLE_CHARS + 1)}, raw=True)  # noqa: F821

    slider, picture = bundles(body, tmp_path)
    assert list(slider) == ["text/plain"]
    assert picture == {"text/plain": "<too large to show: image/png of 8 MB>"}


def test_the_value_of_a_cell_is_formatted_as_a_notebook_does():
    assert format_value([1, 2])["text/plain"] == "[1, 2]"
    assert "<table" in format_value(pd.DataFrame({"x": [1]}))["text/html"]
