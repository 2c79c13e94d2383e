"""TensorFlow's start-up notes are held back; what else is said meanwhile is passed on. A module of its name says both."""

import os
import subprocess
import sys

import pytest

NOTES = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1796032310.887139    3340 port.cc:153] oneDNN custom operations are on.
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with the appropriate compiler flags.
"""
TROUBLE = "E0000 00:00:1796032323.510055    3340 loader.cc:52] a library is broken\n"
PROGRAM = """
import importlib.util, os
from hops_magic.frameworks.quiet import quieten_tensorflow
quieten_tensorflow()
assert importlib.util.find_spec("tensorflow").name == "tensorflow"
try:
    import tensorflow
except ImportError as error:
    print(error)
else:
    print(tensorflow.__spec__.loader is tensorflow.__loader__, type(tensorflow.__loader__).__name__)
print(os.environ["TF_CPP_MIN_LOG_LEVEL"])
"""


@pytest.fixture
def import_it(tmp_path):
    def import_it(*, at_the_end="", **env):
        said = f"import os\nos.write(2, {(NOTES + TROUBLE).encode()!r})\n{at_the_end}\n"
        (tmp_path / "tensorflow.py").write_text(said)
        kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
        path = os.pathsep.join([str(tmp_path), *sys.path])
        command = [sys.executable, "-c", PROGRAM]
        env = {**kept, "PYTHONPATH": path, **env}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60)

    return import_it


def test_notes_are_dropped_and_trouble_is_told(import_it):
    done = import_it()
    assert done.stderr == TROUBLE
    assert done.stdout.split() == ["True", "SourceFileLoader", "3"]


def test_trouble_is_told_of_an_import_that_fails(import_it):
    done = import_it(at_the_end="raise ImportError('no such library')")
    assert done.stderr == TROUBLE
    assert done.stdout.splitlines() == ["no such library", "3"]


def test_a_level_of_the_users_own_stays_and_hides_notes(import_it):
    done = import_it(TF_CPP_MIN_LOG_LEVEL="1")
    assert done.stderr == TROUBLE
    assert done.stdout.split()[-1] == "1"


def test_who_asks_for_the_whole_log_sees_it(import_it):
    done = import_it(TF_CPP_MIN_LOG_LEVEL="0")
    assert done.stderr == NOTES + TROUBLE
    assert done.stdout.split()[-1] == "0"
