"""Command line of hops_magic."""
