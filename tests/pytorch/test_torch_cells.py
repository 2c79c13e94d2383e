"""Torch cells in a kernel, on the ranks of an embedded cluster: what goes in, what comes back, what is refused."""

import time

from kernels import DEADLINE_S

SETUP = """
%load_ext hops_magic
import copy
import hops_magic as hops
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
x = torch.randn(107, 8)
data = TensorDataset(x, (x.sum(1) > 0).long())
model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))
start = copy.deepcopy(model)
first = model[0].weight
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
view = first.detach()[:2]
"""
LOOP = """
for epoch in range(2):
    model.train()
    for inputs, labels in DataLoader(data, batch_size=16, shuffle=True):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
    hops.report(step=epoch, loss=loss.item())
"""


def test_the_notebooks_own_model_is_trained_as_one_process_trains_it(kernel):
    ran = kernel.run("%%distributed -n 2 --seed 7" + LOOP)
    assert not ran.error, ran.error
    # the objects that were there are those that were trained: a module's parameters, the optimizer's, a view of a weight
    same = "(model[0].weight is first, optimizer.param_groups[0]['params'][0] is first, torch.equal(view, first[:2]))"
    assert kernel.ask(same) == "(True, True, True)"
    assert kernel.ask("(len(optimizer.state), loss.requires_grad, loss.item() > 0)") == "(6, False, True)"
    kernel.run(
        "trained, model = model, start\noptimizer = torch.optim.Adam(model.parameters(), lr=0.01)\ntorch.manual_seed(7)"
    )
    kernel.run(LOOP.replace("    hops.report(step=epoch, loss=loss.item())\n", ""))
    states = "zip(model.state_dict().values(), trained.state_dict().values(), strict=True)"
    difference = f"max((a - b).abs().max().item() for a, b in {states})"
    assert kernel.ask(f"{difference} < 1e-8") == "True"


def test_a_cell_whose_loss_mixes_rows_is_refused_by_its_line(kernel):
    ran = kernel.run(
        "%%distributed -n 2\n"
        "for inputs, labels in DataLoader(data, batch_size=16):\n"
        "    scores = model(inputs)\n"
        "    loss = (scores.T @ scores).norm()\n"
        "    loss.backward()\n"
    )
    assert "line 5 (loss.backward())" in ran.error
    assert "mixes the rows" in ran.error


def test_a_stop_in_mid_loop_brings_back_what_was_trained_by_then(kernel, tmp_path):
    kernel.run(
        "torch.manual_seed(0)\nlines = nn.Linear(8, 2)\nbefore = copy.deepcopy(lines)\n"
        "descent = torch.optim.Adam(lines.parameters())"
    )
    flag = tmp_path / "trains"
    cell = kernel.send(
        "%%distributed -n 2\n"
        "from pathlib import Path\n"
        "steps = 0\n"
        "while True:\n"
        "    for inputs, labels in DataLoader(data, batch_size=16):\n"
        "        descent.zero_grad()\n"
        "        loss = F.cross_entropy(lines(inputs), labels)\n"
        "        loss.backward()\n"
        "        descent.step()\n"
        "        steps += 1\n"
        f"    Path({str(flag)!r}).touch()\n"
    )
    end = time.monotonic() + DEADLINE_S
    while not flag.exists() and time.monotonic() < end:
        time.sleep(0.05)
    kernel.manager.interrupt_kernel()
    ran = kernel.result(cell)
    assert not ran.error, ran.error
    assert "the cell was stopped after step" in ran.all
    # weights, the optimizer's state and the cell's own count are of one and the same step
    assert kernel.ask("steps > 6 and int(descent.state[lines.weight]['step']) == steps") == "True"
    assert kernel.ask("torch.equal(lines.weight, before.weight)") == "False"


def test_what_the_notebook_has_set_and_scheduled_is_so_on_the_ranks(kernel):
    kernel.run(
        "line = nn.Linear(8, 2)\nrate = torch.optim.SGD(line.parameters(), lr=1.0)\n"
        "schedule = torch.optim.lr_scheduler.StepLR(rate, 1, gamma=0.5)"
    )
    ran = kernel.run(
        "%%distributed -n 2\n"
        "kind = str(torch.zeros(1).dtype)\n"
        "for inputs, labels in DataLoader(data, batch_size=64):\n"
        "    rate.zero_grad()\n"
        "    F.cross_entropy(line(inputs), labels).backward()\n"
        "    rate.step()\n"
        "    schedule.step()\n"
    )
    assert not ran.error, ran.error
    assert "lr_scheduler" not in ran.all
    assert kernel.ask("(kind, rate.param_groups[0]['lr'], schedule.optimizer is rate)") == "('torch.float64', 0.25, True)"


def test_a_run_that_loses_a_rank_goes_on_from_its_checkpoint(kernel, tmp_path):
    flag = tmp_path / "died"
    cell = (
        "%%distributed -n 2 --seed 5 --restarts 1\n"
        "import os, signal\n"
        "from pathlib import Path\n"
        "state = hops.restore(model=net, optimizer=adam, epoch=0)\n"
        "for epoch in range(state.epoch, 4):\n"
        "    for inputs, labels in DataLoader(data, batch_size=16, shuffle=True):\n"
        "        adam.zero_grad()\n"
        "        loss = F.cross_entropy(net(inputs), labels)\n"
        "        loss.backward()\n"
        "        adam.step()\n"
        "    hops.checkpoint(model=net, optimizer=adam, epoch=epoch + 1)\n"
        f"    if hops.rank == 1 and epoch == 1 and not Path({str(flag)!r}).exists():\n"
        f"        Path({str(flag)!r}).touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "begun_at = state.epoch\n"
    )
    made = "torch.manual_seed(0)\nnet = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2), nn.Linear(8, 2))\n"
    made += "adam = torch.optim.Adam(net.parameters())"
    for kept in ("disturbed", "undisturbed"):
        kernel.run(made)
        ran = kernel.run(cell)
        assert not ran.error, ran.error
        assert kernel.ask("begun_at") == ("2" if kept == "disturbed" else "0")
        kernel.run(f"{kept} = [each.detach().clone() for each in net.parameters()]")
    assert kernel.ask("all(torch.equal(a, b) for a, b in zip(disturbed, undisturbed))") == "True"


def test_options_that_do_nothing_for_torch_are_refused(kernel):
    ran = kernel.run("%%distributed -n 2 --batch per-rank\nmodel(x)")
    assert "--batch does nothing for PyTorch" in ran.error


def test_a_fork_that_runs_to_the_end_of_a_cell_is_no_second_rank(kernel):
    cell = "import os\nchild = os.fork()\nif child:\n    os.waitpid(child, 0)\nhere = child > 0"
    ran = kernel.run(f"%%distributed -n 2 --framework none\n{cell}")
    assert not ran.error, ran.error
    assert kernel.ask("here") == "True"
