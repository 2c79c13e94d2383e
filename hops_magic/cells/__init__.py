"""Program capture: a notebook cell made portable. Reads the notebook's namespace, does no I/O of its own."""
