"""Checkpoints of loops: a run that is begun again ends with the bits of one that was never disturbed."""

import random

import numpy as np
import pytest
import torch
from forked_ranks import ranks
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import hops_magic as hops
from hops_magic.frameworks.torch import TorchFramework
from hops_magic.runs.events import Checkpointed, Metrics, Warned

DEATH = "the process dies"


class Noisy(Dataset):
    """Rows that are augmented at random, by numbers of Python, numpy and PyTorch."""

    def __init__(self):
        self.x = torch.randn(53, 8)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        noise = random.random() + np.random.rand() + torch.rand(8)
        return self.x[index] + 0.1 * noise, (self.x[index].sum() > 0).long()


def loop(*, dies_at=None, workers=0, every=3):
    """Train with two loaders side by side, all kinds of random numbers, and gradients that outlive a step."""

    def body():
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        data, others = Noisy(), TensorDataset(torch.randn(40, 8))
        model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.7)
        order = torch.Generator().manual_seed(5)
        extra = torch.ones(1, requires_grad=True)
        named = {"model": model, "optimizer": optimizer, "schedule": schedule, "order": order, "extra": extra}
        state = hops.restore(**named, epoch=0, step=0, total=0.0)
        step, total = state.step, state.total
        labelled = DataLoader(data, batch_size=8, shuffle=True, generator=order, num_workers=workers)
        for epoch in range(state.epoch, 3):
            model.train()
            for (x, y), (z,) in zip(labelled, DataLoader(others, batch_size=8, shuffle=True), strict=False):
                loss = F.cross_entropy(model(x), y) + 0.1 * model(z).square().mean() * extra.square().mean()
                loss.backward()
                if step % 2:
                    optimizer.step()
                    with torch.no_grad():
                        extra -= 0.01 * extra.grad
                    model.zero_grad()
                step, total = step + 1, total + loss.item()
                if step % every == 0:
                    hops.checkpoint(**named, epoch=epoch, step=step, total=total)
                if step == dies_at:
                    raise RuntimeError(DEATH)
            schedule.step()
            hops.checkpoint(**named, epoch=epoch + 1, step=step, total=total)
        weights = {name: value.numpy().copy() for name, value in model.state_dict().items()}
        moments = [each.numpy() for held in optimizer.state.values() for each in held.values()]
        return {
            "weights": [*weights.values(), *moments, extra.detach().numpy()],
            "told": (step, total, torch.rand(1).item()),
        }

    return body


@pytest.mark.parametrize(
    ("world", "dies_at", "workers"),
    [(1, 7, 0), (2, 7, 0), (1, 5, 0), (1, 7, 1)],
    ids=["alone", "ranks", "between-epochs", "processes-that-load"],
)
def test_a_run_that_is_begun_again_ends_with_the_same_bits(world, dies_at, workers, tmp_path):
    whole, first, again = (
        ranks(loop(dies_at=at, workers=workers), TorchFramework(), world, folder=tmp_path / folder, attempt=attempt)
        for at, folder, attempt in ((None, "whole", 0), (dies_at, "again", 0), (None, "again", 1))
    )
    assert not any(each.error for each in (*whole, *again)), [each.error for each in (*whole, *again)]
    assert all(DEATH in each.error for each in first), [each.error for each in first]
    for one, other in zip(whole, again, strict=True):
        assert one.result["told"] == other.result["told"]
        assert all(np.array_equal(a, b) for a, b in zip(one.result["weights"], other.result["weights"], strict=True))
        assert not [event for event in other.events if isinstance(event, Warned) and "checkpoint" in event.message]
    # the curves go on too: each epoch once, with the mean of all of its steps
    by_epoch = {event.step: event.values for event in whole[0].events if getattr(event, "scope", "") == "epoch"}
    rest = {event.step: event.values for event in again[0].events if getattr(event, "scope", "") == "epoch"}
    assert rest
    assert rest == {step: pytest.approx(by_epoch[step]) for step in rest}
    steps = [event.step for event in again[0].events if isinstance(event, Metrics) and event.scope == "batch"]
    assert steps[0] > 3
    assert [event.epoch for event in whole[0].events if isinstance(event, Checkpointed)][-1] == 3


def test_each_restore_begins_a_state_of_its_own(tmp_path):
    def folds(dies):
        def body():
            ends = []
            for fold in range(3):
                state = hops.restore(at=0, total=0)
                at, total = state.at, state.total
                while at < 4:
                    at, total = at + 1, total + fold + random.randrange(100)
                    hops.checkpoint(at=at, total=total)
                    if dies and (fold, at) == (1, 2):
                        raise RuntimeError(DEATH)
                ends.append(total)
            return {"ends": ends}

        return body

    (whole,) = ranks(folds(False), TorchFramework(), 1, folder=tmp_path / "whole")
    ranks(folds(True), TorchFramework(), 1, folder=tmp_path / "again")
    (again,) = ranks(folds(False), TorchFramework(), 1, folder=tmp_path / "again", attempt=1)
    assert not again.error, again.error
    assert again.result == whole.result


def test_what_would_be_lost_is_refused(tmp_path):
    def refused(call):
        with pytest.raises(hops_errors.UsageError) as caught:
            call()
        return str(caught.value)

    from hops_magic import errors as hops_errors

    def body():
        loader = DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=4)
        told = [refused(lambda: hops.checkpoint(epoch=1)), refused(lambda: hops.restore(loader=loader))]
        hops.restore(epoch=0)
        told.append(refused(lambda: hops.checkpoint(step=0)))
        for _ in loader:
            told.append(refused(lambda: hops.checkpoint(epoch=1)))
            break
        return {"told": told}

    (ended,) = ranks(body, TorchFramework(), 1, folder=tmp_path)
    assert not ended.error, ended.error
    words = ("hops.restore was not called", "leave loader out", "was given epoch", "at the end of the loop's body")
    assert all(word in said for word, said in zip(words, ended.result["told"], strict=False)), ended.result["told"]
