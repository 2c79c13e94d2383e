"""Torch models of runs and of trials: registered, and loaded by ``%models load`` and by MLflow's own tools."""

SETUP = """
%load_ext hops_magic
import hops_magic as hops
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
x = torch.randn(96, 8)
data = TensorDataset(x, (x.sum(1) > 0).long())

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.hidden, self.out = nn.Linear(8, width), nn.Linear(width, 2)

    def forward(self, rows):
        return self.out(F.relu(self.hidden(rows)))

model = Net(16)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
"""
LOOP = """
for epoch in range(3):
    for inputs, labels in DataLoader(data, batch_size=16, shuffle=True):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
"""
TRIAL = "model = Net(width)\noptimizer = torch.optim.Adam(model.parameters(), lr=lr)" + LOOP


def test_a_model_is_registered_and_loaded_by_us_and_by_mlflow(kernel):
    ran = kernel.run("%%distributed -n 2 --seed 3 --register net" + LOOP)
    assert not ran.error, ran.error
    ran = kernel.run("%models load net --as loaded")
    assert not ran.error, ran.error
    assert kernel.ask("(type(loaded) is Net, loaded.training)") == "(True, False)"
    assert kernel.ask("torch.equal(loaded(x), model(x))") == "True"
    ran = kernel.run(
        "import mlflow\n"
        "from hops_magic.session import session\n"
        "mlflow.set_tracking_uri(session().settings.shown_tracking_uri)\n"
        "theirs = mlflow.pytorch.load_model('models:/net/1')\n"
        "function = mlflow.pyfunc.load_model('models:/net/1')"
    )
    assert not ran.error, ran.error
    assert kernel.ask("torch.equal(theirs(x), model(x))") == "True"
    signature = "function.metadata.signature"
    assert kernel.ask(f"[each.shape for each in ({signature}.inputs.inputs[0], {signature}.outputs.inputs[0])]") == (
        "[(-1, 8), (-1, 2)]"
    )
    assert kernel.ask("function.predict(x.numpy()).shape") == "(96, 2)"
    # a module of the notebook's, by its name
    run_id = kernel.ask("hops.models.version('net').run_id")
    ran = kernel.run(f"%models register other --run {run_id[1:-1]} --var model\nagain = hops.models.load('other')")
    assert not ran.error, ran.error
    assert kernel.ask("torch.equal(again(x), model(x))") == "True"


def test_trials_report_by_themselves_are_pruned_and_the_best_is_registered(kernel):
    ran = kernel.run(
        "%%tune --minimize loss --trials 4 --parallel 1 --seed 1 --stop asha --register best "
        "lr=grid([0.05, 1e-6, 1e-7, 1e-8])\nwidth = 16\n" + TRIAL
    )
    assert not ran.error, ran.error
    # one loss for each epoch is what the rule goes by
    assert kernel.ask("list(study.trials['state']).count('stopped') > 0") == "True"
    assert kernel.ask("best['lr']") == "0.05"
    ran = kernel.run("%models load best --as champion")
    assert not ran.error, ran.error
    assert kernel.ask("F.cross_entropy(champion(x), data.tensors[1]).item() < 0.6") == "True"
