"""Cells of each kind that tell when they have begun and end when they are told to, by files in the notebook's folder."""

LOAD = "%load_ext hops_magic\nimport hops_magic as hops"
WAIT = """
import pathlib, time
pathlib.Path("{name}-began").touch()
while not pathlib.Path("{name}-may-end").exists(): time.sleep(0.02)
"""
CELLS = {
    "distributed": "%%distributed -n 1 --framework none --name {name}" + WAIT + "answer = '{name}'",
    "tune": "%%tune -n 2 --parallel 1 --minimize loss --stop none --search random --name {name} x=uniform(0, 1)"
    + WAIT
    + "import hops_magic as hops\nhops.report(step=1, loss=x)",
    "attach": "%attach {name}",
}
