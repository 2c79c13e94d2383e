"""The pieces that random programs are made of: text, with choices in it, and what may be said of it."""

import random
import re
from dataclasses import dataclass, replace

CHOICE = re.compile(r"\{\{([^{}]*)\}\}")


@dataclass(frozen=True)
class Part:
    """A piece of a program.

    ``define`` stands above the model, ``use`` where the piece is used; ``{{a|b}}`` in either is drawn once. A piece that is
    ``told`` may be refused or named in a warning, by one of ``names``; one that is not must be exact on any number of ranks.
    """

    name: str
    use: str = ""
    define: str = ""
    told: bool = False
    names: tuple[str, ...] = ()
    only: tuple[str, ...] = ()  # names of sources, targets and so on that it fits

    def drawn(self, draw: random.Random) -> "Part":
        """Return the piece with its choices made."""
        made = {}  # a choice that occurs twice is made once

        def pick(match: re.Match) -> str:
            return made.setdefault(match[0], draw.choice(match[1].split("|")))

        return replace(self, use=CHOICE.sub(pick, self.use), define=CHOICE.sub(pick, self.define))

    def fits(self, *names: str) -> bool:
        """Whether the piece can stand beside pieces with these names."""
        return not self.only or any(name in self.only for name in names)


def stream(seed: int, what: str) -> random.Random:
    """Return random numbers for one decision, so that another decision does not move them."""
    return random.Random(f"{seed}/{what}")
