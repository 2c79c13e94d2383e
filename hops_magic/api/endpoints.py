"""All endpoints: importing this fills the table."""

from hops_magic.api import about, clusters, datasets, groups, lineage, models, outputs, runs

__all__ = ["about", "clusters", "datasets", "groups", "lineage", "models", "outputs", "runs"]
