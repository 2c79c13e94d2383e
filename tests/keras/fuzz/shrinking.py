"""Make a failing program smaller for as long as it fails in the same way."""

from fuzz.recipe import Recipe, simpler, write
from fuzz.verdicts import Verdict, judge


def judged(recipe: Recipe) -> Verdict:
    """Judge a program."""
    names = tuple(name for part in recipe.told for name in (part.name, *part.names))
    return judge(write(recipe), recipe.world, told=bool(recipe.told), names=names)


def shrunk(recipe: Recipe, verdict: Verdict, tries: int = 60) -> Recipe:
    """Drop one thing after the other while the program still fails in the same way."""
    while True:
        for smaller in simpler(recipe):
            if tries == 0:
                return recipe
            tries -= 1
            found = judged(smaller)
            if found.kind == verdict.kind and (found.kind == "silent" or found.symptom == verdict.symptom):
                recipe = smaller
                break
        else:
            return recipe
