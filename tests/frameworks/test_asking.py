"""Questions on a rank: nobody is there to answer."""

import builtins
import getpass

import pytest

from hops_magic.errors import UsageError
from hops_magic.frameworks.asking import no_questions


def test_questions_are_refused_in_one_sentence_and_only_for_the_time_of_the_cell():
    before = builtins.input, getpass.getpass
    with no_questions():
        with pytest.raises(UsageError, match=r"^nobody can answer input\('Epochs\? '\) on a rank: ask in a cell before"):
            input("Epochs? ")
        with pytest.raises(UsageError, match=r"^nobody can answer getpass\(\) on a rank"):
            getpass.getpass()
    assert (builtins.input, getpass.getpass) == before
