"""Train a program on a cluster: composes capture, engine, frameworks and registry."""
