"""Experiments, runs and models: the only user of the tracking library."""
