"""Where a cell of several ranks would write the same file: found before it runs, without false alarms."""

import pytest

from hops_magic.cells.writes import file_writes, notes_of

IMPORTS = """
import numpy as np, pandas as pd, json, pickle, shutil, gzip, os
from pathlib import Path
df, x = pd.DataFrame({'a': [1]}), np.ones(3)"""


def found(notebook, body):
    return file_writes(notebook.capture(body).program, notebook.namespace)


@pytest.mark.parametrize(
    "body",
    [
        "np.save('x.npy', x)",
        "with open('out.txt', 'w') as f:\n    f.write('a')",
        "open('log.txt', mode='a').write('a')",
        "df.to_csv('d.csv')",
        "pickle.dump(x, open('x.pkl', 'wb'))",
        "with open('x.json', 'w') as f: json.dump({}, f)",
        "Path('a.txt').write_text('a')",
        "with Path('a.txt').open('w') as f: f.write('a')",
        "with gzip.open('a.gz', 'wb') as f: f.write(b'a')",
        "shutil.copy('a', 'b')",
        "os.replace('a', 'b')",
        "import torch\ntorch.save(x, 'x.pt')",
        "from numpy import savez as keep\nkeep('x.npz', x)",
        "x.tofile('x.bin')",
        "import matplotlib.pyplot as plt\nplt.savefig('a.png')",
        "for n in range(3):\n    if n:\n        np.savetxt(f'{n}.txt', x)",
        "def save():\n    np.save('x.npy', x)\nsave()",
        "if hops.rank == 0:\n    pass\nelse:\n    pass\nnp.save('x.npy', x)",
    ],
)
def test_a_file_that_all_ranks_would_write_is_named(notebook, body):
    notebook.cell(IMPORTS)
    notebook.namespace["hops"] = __import__("hops_magic")
    (write,) = found(notebook, body)
    number = next(n for n, line in enumerate(body.splitlines(), 2) if write.what[:8] in line)
    assert write.where == f"line {number}"
    (note,) = notes_of([write], 3)
    assert note.startswith(f"line {number}: each of the 3 ranks would write the same file in {write.what}: ")
    assert "if hops.rank == 0" in note


@pytest.mark.parametrize(
    "body",
    [
        "np.load('x.npy')",
        "open('out.txt').read() + open('out.txt', 'r').read() + open('b', 'rb').read().decode()",
        "text = df.to_csv()",
        "df.to_json()",
        "pd.read_csv('d.csv')",
        "if hops.rank == 0:\n    np.save('x.npy', x)",
        "if not hops.rank:\n    with open('a', 'w') as f: f.write('a')",
        "hops.rank == 0 and np.save('x.npy', x)",
        "np.save('x.npy', x) if hops.rank == 0 else None",
        "np.save(f'x-{hops.rank}.npy', x)",
        "name = f'part-{hops.rank}'\nplace = Path('out') / name\nplace.write_text('a')\ndf.to_csv(place)",
        "import io\nb = io.BytesIO()\nnp.save(b, x)",
        "import tempfile\nwith tempfile.TemporaryDirectory() as folder:\n    np.save(Path(folder) / 'x.npy', x)",
        "def save():\n    if hops.rank != 0:\n        return\n    np.save('x.npy', x)\nsave()",
        "'a-b'.replace('a', 'b')\nopen_rows = x.tolist()",
        "class Door:\n    def open(self, how): return how\nDoor().open('inward')",
    ],
)
def test_what_reads_or_is_of_one_rank_is_not_named(notebook, body):
    notebook.cell(IMPORTS)
    notebook.namespace["hops"] = __import__("hops_magic")
    assert found(notebook, body) == []


def test_functions_of_other_cells_are_looked_into_as_far_as_they_go_along(notebook):
    import linecache

    source = "import numpy as np\ndef save(x):\n    np.save('x.npy', x)\ndef other(x):\n    np.save('y.npy', x)\n"
    notebook.cell(source)
    linecache.cache["<cell 1>"] = (len(source), None, source.splitlines(keepends=True), "<cell 1>")
    assert [write.where for write in found(notebook, "save(1)")] == ["line 3 of Cell In[1]"]
