"""The first cells of a new user: nothing red below them."""

from kernels import Kernel

CELLS = (
    "%load_ext hops_magic",
    "import keras\nimport numpy as np\nrows = np.zeros((8, 2), 'float32')",
    "model = keras.Sequential([keras.layers.Dense(1)])\nmodel.compile('adam', 'mse')",
    "_ = model.fit(rows, rows[:, :1], verbose=0)",
    "%%distributed -n 1 --name greeting\n_ = model.fit(rows, rows[:, :1], verbose=0)",
)


def test_tensorflow_greets_nobody(kernel, env, places):
    # the cluster of all stands; its kernel's level is not this one's
    other = Kernel({name: value for name, value in env.items() if name != "TF_CPP_MIN_LOG_LEVEL"}, places["work"])
    try:
        said = [other.run(cell) for cell in CELLS]
    finally:
        other.close()
    assert [executed.error for executed in said] == [""] * len(CELLS)
    assert [executed.all.strip() for executed in said[:-1]] == [""] * (len(CELLS) - 1)
    for note in ("absl", "oneDNN", "cuInit", "0000 00:00", "rebuild TensorFlow"):
        assert note not in said[-1].text
