"""Front doors in IPython: parse, call, show."""
