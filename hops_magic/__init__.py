"""Train and tune deep networks on a Dask cluster from ordinary notebook cells.

``%load_ext hops_magic`` adds the magics; ``import hops_magic as hops`` gives the same verbs to scripts. Heavy libraries are
imported when first used.
"""

from __future__ import annotations

__version__ = "0.1.0"
