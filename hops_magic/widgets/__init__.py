"""Views of runs in notebooks, voila and terminals."""
