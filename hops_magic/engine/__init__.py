"""The cluster, placement, supervision and rank processes: the only user of ``distributed``."""
