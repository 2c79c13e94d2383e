"""Real cells on a real cluster, as a user sees them."""

from __future__ import annotations

import nbformat
import pytest
from browsing import RUN_ALL, SAVE, Jupyter, shoot
from playwright.sync_api import Page, expect

DATA = """%load_ext hops_magic
import keras
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16"""
TRAIN = """%%distributed -n 2 --name digits
import hops_magic as hops

model = keras.Sequential(
    [keras.Input((8, 8, 1)), keras.layers.Conv2D(16, 3), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(images, labels, epochs=EPOCHS, batch_size=64, validation_split=0.1, verbose=0)
print("trained by rank", hops.rank)"""
PLAIN = """%load_ext hops_magic
%%distributed -n 2 --framework none --name search --no-out
import math
import time

import hops_magic as hops

print(f"rank {hops.rank} of {hops.world_size}", flush=True)
for step in range(1, 100_000):
    hops.report(step=step, loss=math.exp(-step / 50) + hops.rank / 10)
    time.sleep(0.02)"""


# a cluster starts, and its processes import TensorFlow: minutes on a loaded machine
pytestmark = pytest.mark.timeout(600)


def test_a_cell_is_trained_before_the_users_eyes(page: Page, open_notebook, jupyter: Jupyter) -> None:
    train = TRAIN.replace("EPOCHS", "30")
    path = open_notebook(
        "train.ipynb", [DATA, train, "print('epochs', len(history.epoch), 'weights', model.count_params())"]
    )
    page.evaluate(RUN_ALL)
    view = page.locator(".hops-run")
    # the first run starts the cluster, whose processes import TensorFlow
    expect(view).to_be_visible(timeout=120_000)
    expect(view.locator(".hops-plot canvas")).to_have_count(2, timeout=180_000)
    expect(view.locator(".hops-legend").first).to_contain_text("val_loss", timeout=30_000)
    expect(view.get_by_role("row")).to_have_count(3)
    shoot(page, "train-running")
    expect(page.get_by_text("epochs 30 weights")).to_be_visible(timeout=150_000)
    expect(page.get_by_role("img", name="curve of loss")).to_be_visible()
    shoot(page, "train-ended")
    page.evaluate(SAVE)
    saved = nbformat.read(path, as_version=4).cells[1].outputs[0]["data"]
    assert "digits: done" in saved["text/plain"]
    assert "val_accuracy" in saved["text/html"]


def test_a_real_run_is_stopped_while_its_cell_is_busy(page: Page, open_notebook) -> None:
    load, cell = PLAIN.split("\n", 1)
    open_notebook("stop.ipynb", [load, cell])
    page.evaluate(RUN_ALL)
    view = page.locator(".hops-run")
    expect(view.locator(".hops-legend")).to_contain_text("loss · rank 1", timeout=120_000)
    expect(view.get_by_role("tabpanel")).to_contain_text("rank 0 of 2")
    shoot(page, "plain-running")
    view.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("RunStoppedError").first).to_be_visible(timeout=20_000)
    expect(view).to_have_count(0)
    shoot(page, "plain-stopped")
