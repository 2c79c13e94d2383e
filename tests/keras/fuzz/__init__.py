"""Random Keras programs: drawn from a seed, run as one process and as ranks, compared, and shrunk where they fail."""
