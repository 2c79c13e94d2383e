"""Ranks that write the same file are told so, and those that do not are not."""

SOURCE = """
import hops_magic as hops, json, pathlib
folder = pathlib.Path(PLACE)
with open(folder / f"own-{hops.rank}.txt", "w") as file:
    file.write("mine")
if hops.rank == 0:
    (folder / "first.json").write_text("{}")
hops.barrier()
(folder / "first.json").read_text()
with open(folder / "all.json", "w") as file:
    json.dump({}, file)
hops.barrier()
with open(folder / "all.json", "a") as file:
    file.write(" ")
"""


def test_a_file_that_several_ranks_write_is_named_once(run_cell, tmp_path):
    source = SOURCE.replace("PLACE", repr(str(tmp_path)))
    (warning,) = run_cell(source, workers=3).run.warnings
    assert warning.startswith(f"several ranks opened {tmp_path}/all.json for writing")
    assert "hops.rank == 0" in warning
    assert run_cell(source, workers=1).run.warnings == ()


def test_the_report_names_it_before_anything_starts(launch, tmp_path):
    import hops_magic as hops

    report = hops.train("import numpy as np\nnp.save('x.npy', np.ones(2))", workers=2, dry_run=True, namespace={})
    assert "line 2: each of the 2 ranks would write the same file in np.save('x.npy', np.ones(2))" in report.text()
    assert "<p>line 2: each of the 2 ranks" in report.html()
    assert hops.train("import numpy as np\nnp.save('x.npy', np.ones(2))", workers=1, dry_run=True, namespace={}).notes == ()
