"""Where a cell stands: its number, its notebook, the cells before it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hops_magic.cells.capture import CellOrigin
from hops_magic.training import Surroundings

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from hops_magic.session import Session

FIRST_LINE = 2
"""Jupyter counts the line of the magic as 1."""


def surroundings_of(shell: InteractiveShell, session: Session) -> Surroundings:
    """Return the surroundings of the cell that the shell is executing."""
    history = shell.history_manager.input_hist_raw
    # some versions of IPython have counted on already when a cell runs, others have not; the history holds it in all
    number = len(history) - 1
    notebook = os.environ.get("JPY_SESSION_NAME") or str(shell.user_ns.get("__vsc_ipynb_file__", ""))
    return Surroundings(
        origin=CellOrigin(label=f"In[{number}]", first_line=FIRST_LINE),
        folder=Path.cwd(),
        notebook=notebook,
        history=dict(enumerate(history)),
        inputs=session.provenance.by_name,
    )
