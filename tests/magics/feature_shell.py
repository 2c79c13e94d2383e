"""An IPython shell with ``%features`` over a real store, and tables to save."""

from types import SimpleNamespace

import pandas as pd
import polars as pl
import pyarrow as pa
from IPython.core.formatters import DisplayFormatter

from hops_magic.cells.provenance import Provenance
from hops_magic.features.store import FeatureStore
from hops_magic.magics.features import FeaturesMagics
from hops_magic.settings import FeatureSettings


def with_magic(ipython, home):
    store = FeatureStore(FeatureSettings.from_environment({"HOPS_HOME": str(home)}))
    session = SimpleNamespace(features=store, provenance=Provenance(), inputs_read=store.take_reads, uses_of=lambda name: [])
    ipython.user_ns.clear()
    ipython.user_ns.update(tables())
    ipython.user_ns["__vsc_ipynb_file__"] = "/work/teams.ipynb"
    ipython.register_magics(FeaturesMagics(ipython, session))
    ipython.user_ns["provenance"] = session.provenance
    return ipython


def day(text):
    return pd.Timestamp(text)


def tables():
    return {
        "teams": pd.DataFrame({"team_id": [1, 2, 3], "team_budget": [10.0, 20.0, None], "town": ["<b>A</b>", "B", "C"]}),
        "players": pl.DataFrame({"team_id": [1, 2, 3], "average_player_age": [25.5, 26.0, 27.0]}),
        "games": pd.DataFrame(
            {
                "team_id": [1, 1, 2, 3],
                "played_at": [day("2024-01-01"), day("2024-02-01"), day("2024-01-01"), day("2024-01-15")],
                "average_attendance": [1000, 2000, 3000, 4000],
            }
        ),
        "labels": pd.DataFrame(
            {
                "team_id": [1, 1, 2],
                "ts": [day("2024-01-15"), day("2024-03-01"), day("2023-01-01")],
                "won": [True, False, True],
            }
        ),
        "weather": pa.table({"station": ["x", "y"], "rain": [1.0, 2.0]}),
        "seats": pa.table({"team_id": [1, 1], "row_no": [1, 2], "price": [5.0, 6.0]}),
        "codes": pd.DataFrame({"address": [1, 2], "code": ["AB", "CD"]}),
    }


def run(shell, line):
    """Run a line; return its value."""
    return shell.run_line_magic("features", line)


def shown(shell, line):
    """Run a line; return how a notebook and a terminal show it."""
    formatter = DisplayFormatter()
    formatter.active_types = list(formatter.format_types)
    bundle, _ = formatter.format(run(shell, line))
    return bundle.get("text/html", ""), bundle["text/plain"]
