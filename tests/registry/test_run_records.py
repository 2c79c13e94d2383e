"""What is known of a prepared program goes into its record."""

import getpass
import subprocess
from types import SimpleNamespace

from hops_magic.cells.capture import CellOrigin, capture
from hops_magic.registry.records import commit_of, environment_facts, record_of
from hops_magic.registry.rows import MetricSummary, lower_is_better
from hops_magic.runs.options import DistributedOptions
from hops_magic.training import Prepared, Surroundings


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_the_commit_of_the_notebooks_folder_and_whether_it_was_changed(tmp_path):
    assert commit_of(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) is None  # no commit yet
    (tmp_path / "model.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    clean = commit_of(tmp_path)
    assert (len(clean.commit), clean.is_dirty) == (40, False)
    (tmp_path / "model.py").write_text("x = 2\n")
    assert commit_of(tmp_path).is_dirty is True
    assert commit_of(tmp_path / "missing") is None


def test_a_prepared_program_becomes_a_record(tmp_path):
    origin = CellOrigin(label="In[5]", first_line=2)
    captured = capture("y = sum(x)\n", {"x": [1, 2, 3]}, origin=origin, folder=tmp_path)
    prepared = Prepared(
        run_id="aaaa00000001",
        name="In[5]-aaaa",
        experiment="digits",
        captured=captured,
        options=DistributedOptions(workers=3),
        framework="none",
        strategy="none",
        seed=7,
        surroundings=Surroundings(origin=origin, folder=tmp_path, notebook="digits.ipynb"),
    )
    info = {"address": "tls://h:1", "workers": {"a": {"nthreads": 2, "memory_limit": 8, "host": "h"}}}
    cluster = SimpleNamespace(client=SimpleNamespace(scheduler_info=lambda n_workers: info), is_local=True)

    record = record_of(prepared, cluster, 5.0)

    assert (record.run_id, record.source, record.seed) == ("aaaa00000001", "y = sum(x)\n", 7)
    assert (record.options["workers"], record.notebook, record.user) == (3, "digits.ipynb", getpass.getuser())
    (row,) = record.captured
    assert (row.name, row.type.split()[0]) == ("x", "list")
    assert row.content_hash
    assert record.cluster["threads"] == 2


def test_the_environment_names_what_is_installed():
    facts = environment_facts()
    assert {"keras", "numpy", "mlflow-skinny"} <= set(facts["packages"])
    assert facts["python"].startswith("3.")


def test_a_summary_stays_small_and_knows_the_best():
    summary = MetricSummary(name="val_loss")
    for step in range(10_000):
        summary.add(abs(step - 5_000))
    assert (summary.best, summary.last) == (0, 4_999)
    assert 20 <= len(summary.values) <= 40
    assert MetricSummary.from_tag(summary.as_tag()).best == 0
    assert MetricSummary.from_tag("nonsense") is None


def test_the_better_direction_is_guessed_by_name():
    assert lower_is_better("val_loss")
    assert lower_is_better("fit2/mean_absolute_error")
    assert not lower_is_better("val_accuracy")
    assert not lower_is_better("reward")
