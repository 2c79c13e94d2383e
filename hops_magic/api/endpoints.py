"""All endpoints: importing this fills the table."""

from hops_magic.api import about, clusters, features, lineage, models, runs

__all__ = ["about", "clusters", "features", "lineage", "models", "runs"]
