"""How a rank comes by its rows of each global batch, without making those of the others where that can be spared."""
