"""What a training loop tells by itself, and how it ends where a stop is asked for."""

import numpy as np
import pytest
import torch
from forked_ranks import ranks
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import hops_magic as hops
from hops_magic.frameworks.stopping import StopRequested
from hops_magic.frameworks.torch import TorchFramework
from hops_magic.runs.events import Metrics, Parameters, Progress

ROWS, BATCH = 107, 16
STEPS = -(-ROWS // BATCH)


def data_and_model():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    x = torch.randn(ROWS, 8)
    data = TensorDataset(x, (x.sum(1) > 0).long())
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    return data, model, torch.optim.Adam(model.parameters(), lr=0.01)


def epochs(count, *, report=False, flag=None, stop_at=None):
    """Train, as a cell does; returns the loss of each step and the weights."""
    data, model, optimizer = data_and_model()
    losses = []
    try:
        for epoch in range(count):
            for inputs, labels in DataLoader(data, batch_size=BATCH, shuffle=True):
                optimizer.zero_grad()
                error = F.cross_entropy(model(inputs), labels)
                error.backward()
                optimizer.step()
                losses.append(error.item())
                if len(losses) == stop_at:
                    flag.touch()
            with torch.no_grad():
                right = sum((model(x).argmax(1) == y).sum().item() for x, y in DataLoader(data, batch_size=BATCH))
            if report:
                hops.report(step=epoch, error=losses[-1], accuracy=right / ROWS)
    except StopRequested:
        losses.append("stopped")
    return {"losses": losses, "weights": model[0].weight.detach().numpy().copy()}


def said(ended, kind, **what):
    return [
        event for event in ended.events if isinstance(event, kind) and all(getattr(event, k) == v for k, v in what.items())
    ]


@pytest.mark.parametrize("world", [1, 2])
def test_a_loop_tells_its_curves_and_its_progress(world):
    ended = ranks(lambda: epochs(2), TorchFramework(), world)
    assert not any(each.error for each in ended), [each.error for each in ended]
    chief = ended[0]
    losses = np.array(chief.result["losses"]).reshape(2, STEPS)
    rows = np.array([BATCH] * (STEPS - 1) + [ROWS % BATCH])
    by_epoch = said(chief, Metrics, scope="epoch")
    assert [event.step for event in by_epoch] == [1, 2]
    # under the name of the variable: the mean over all rows of the epoch, of all ranks
    assert [event.values["error"] for event in by_epoch] == pytest.approx((losses * rows).sum(1) / ROWS)
    for event in said(chief, Metrics, scope="batch"):
        assert event.values["error"] == pytest.approx(losses.ravel()[event.step - 1])
    for number, each in enumerate(ended):
        steps = said(each, Progress, phase="fit")
        assert steps[0].step == 1
        assert steps[0].steps == STEPS
        assert (steps[-1].epoch, steps[-1].step) == (2, 0)
        assert steps[-1].examples == sum(r * (number + 1) // world - r * number // world for r in rows) * 2
        assert steps[-1].examples_per_s > 0
        assert not (number and said(each, Metrics))
    assert said(chief, Progress, phase="evaluate")
    (parameters,) = said(chief, Parameters)
    expected = {"batch_size": BATCH, "optimizer": "Adam", "optimizer.lr": 0.01, "model.weights": 178}
    assert expected.items() <= parameters.values.items()


def test_what_the_cell_reports_by_the_same_name_is_its_own_curve():
    (ended,) = ranks(lambda: epochs(2, report=True), TorchFramework(), 1)
    assert not ended.error, ended.error
    assert [event.step for event in said(ended, Metrics, scope="user")] == [0, 1]
    assert not said(ended, Metrics, scope="epoch")


def test_steps_without_a_loader_have_curves():
    def body():
        _, model, optimizer = data_and_model()
        x = torch.randn(4, 8)
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
        return {"loss": loss.item()}

    (ended,) = ranks(body, TorchFramework(), 1)
    assert not ended.error, ended.error
    assert said(ended, Progress)[0].step == 1
    assert set(said(ended, Metrics, scope="batch")[0].values) == {"loss"}


def test_losses_that_were_scaled_for_half_precision_are_told_as_they_were():
    def body():
        _, model, optimizer = data_and_model()
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        loss = model(torch.ones(4, 8)).square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        return {"loss": loss.item()}

    (ended,) = ranks(body, TorchFramework(), 1)
    assert not ended.error, ended.error
    (event,) = said(ended, Metrics, scope="batch")
    assert event.values["loss"] == pytest.approx(ended.result["loss"])


@pytest.mark.parametrize("world", [1, 2])
def test_a_stop_ends_the_loop_at_the_same_step_on_all_ranks(world, tmp_path):
    flag = tmp_path / "stop"
    body = lambda: epochs(500, flag=flag, stop_at=9)  # noqa: E731
    ended = ranks(body, TorchFramework(), world, stop_requested=flag.exists)
    assert not any(each.error for each in ended), [each.error for each in ended]
    assert all(each.result["losses"][-1] == "stopped" for each in ended)
    assert 9 <= len(ended[0].result["losses"]) - 1 <= 12
    for each in ended[1:]:
        assert each.result["losses"] == ended[0].result["losses"]
        assert np.array_equal(each.result["weights"], ended[0].result["weights"])


@pytest.mark.parametrize("world", [1, 2])
def test_a_stop_ends_steps_without_a_loader(world, tmp_path):
    flag = tmp_path / "stop"

    def body():
        _, model, optimizer = data_and_model()
        x, steps = torch.ones(4, 8), 0
        try:
            while True:
                optimizer.zero_grad()
                model(x).square().mean().backward()
                optimizer.step()
                steps += 1
                if steps == 5:
                    flag.touch()
        except KeyboardInterrupt:
            return {"steps": steps, "weight": model[0].weight.detach().numpy().copy()}

    ended = ranks(body, TorchFramework(), world, stop_requested=flag.exists)
    assert not any(each.error for each in ended), [each.error for each in ended]
    assert 5 <= ended[0].result["steps"] <= 8
    assert all(np.array_equal(each.result["weight"], ended[0].result["weight"]) for each in ended)
