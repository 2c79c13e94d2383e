"""What the capture report says of each name, and that large data travels once and is not copied."""

import pytest

CELL = """
import json
import numpy as np
import pandas as pd
small = np.zeros(10, dtype="float32")
large = np.zeros((1000, 500))
same = large.copy()
view = large[:, ::2]
frame = pd.DataFrame({"a": np.arange(300_000), "b": ["word"] * 300_000})
objects = np.array([{}, []], dtype=object)
words = [f"{i:>12}" for i in range(120_000)]
text = "<b>"
def f(v): return v + g
g = 1
class A: pass
"""


@pytest.fixture(scope="module")
def captured(tmp_path_factory, make_notebook):
    notebook = make_notebook(tmp_path_factory.mktemp("report")).cell(CELL)
    return notebook.capture("json, np, small, large, same, view, frame, objects, words, text, f(1), A")


@pytest.fixture
def row(captured):
    rows = {row.name: row for row in captured.report.rows}
    return rows.__getitem__


def test_each_name_has_its_type_shape_size_and_way(row):
    assert (row("small").type, row("small").shape, row("small").how) == ("numpy.ndarray", "10 float32", "with the program")
    assert (row("large").shape, row("large").how) == ("1000 x 500 float64", "mapped from node memory: once per node")
    assert row("large").size_bytes >= 4_000_000
    assert row("json").how == "imported on the ranks"
    assert (row("f").type, row("f").how) == ("function", "by value, with the program")
    assert row("A").how == "by value, with the program"
    assert row("objects").how == "with the program, object by object"
    assert row("text").shape == "len 3"
    assert row("g").type == "int"


def test_equal_data_has_one_hash_and_travels_once(captured, row):
    assert row("large").content_hash == row("same").content_hash
    large = [data.nbytes for data in captured.buffers.values() if data.nbytes == 4_000_000]
    assert len(large) == 1
    assert captured.report.size_bytes < sum(row.size_bytes for row in captured.report.rows)


def test_the_hash_of_a_name_does_not_depend_on_what_travels_beside_it(notebook):
    notebook.cell(CELL)
    alone = notebook.capture("text, words").report.rows
    beside = notebook.capture("small, text, words, frame").report.rows
    hashes = {row.name: row.content_hash for row in beside}
    assert all(hashes[row.name] == row.content_hash for row in alone)


def test_large_streams_travel_out_of_band_too(captured, row):
    assert row("words").how == row("view").how == row("frame").how == "mapped from node memory: once per node"
    assert sum(len(bundle.stream) for bundle in captured.program.bundles) < 100_000


def test_the_report_as_text_and_html(captured):
    text = captured.report.text()
    assert "large" in text
    assert "MiB in all" in text
    html = captured.report.html()
    assert html.startswith("<details>")
    assert "&lt;" not in html
    assert "<b>" not in html


def test_hostile_names_are_escaped(notebook):
    notebook.cell("Evil = type('<script>', (), {})\nevil = Evil()")
    html = notebook.capture("evil").report.html()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_pandas_and_arrow_come_back_equal(notebook):
    notebook.cell("""
import pandas as pd, pyarrow as pa
frame = pd.DataFrame({'a': range(200_000), 'b': ['ü'] * 200_000})
frame['b'] = frame['b'].astype('string[pyarrow]')
table = pa.table({'n': list(range(300_000))})""")
    notebook.rank("frame2, table2 = frame.assign(c=1), table.slice(1)\nframe.loc[0, 'a'] = 5\nfive = frame['a'][0]")
    assert notebook["five"] == 5
    assert notebook["frame2"].drop(columns="c").equals(notebook["frame"].assign(a=range(200_000)))
    assert notebook["table2"].equals(notebook["table"].slice(1))


def test_dask_collections_are_not_computed(notebook):
    notebook.cell("""
import dask.array as da
calls = []
def block(v):
    calls.append(1)
    return v
d = da.ones((10, 4), chunks=(2, 4)).map_blocks(block, dtype=float, meta=da.ones((1, 1)).compute())
calls.clear()""")
    notebook.capture("d")
    assert notebook["calls"] == []
    ran = notebook.rank("parts, total = d.npartitions, float(d.sum().compute())")
    assert (notebook["parts"], notebook["total"]) == (5, 40.0)
    row = next(row for row in ran.captured.report.rows if row.name == "d")
    assert (row.how, row.shape) == ("dask collection, not computed", "5 partitions")
