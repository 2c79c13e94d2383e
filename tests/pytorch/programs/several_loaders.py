# equal: labelled and unlabelled batches side by side, an average of weights, and an inner loop with gradients off
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

labelled = DataLoader(TensorDataset(torch.randn(40, 4), torch.randint(0, 2, (40,))), batch_size=8, shuffle=True)
unlabelled = DataLoader(TensorDataset(torch.randn(60, 4)), batch_size=12, shuffle=True)
model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
average = AveragedModel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for (x, y), (u,) in zip(labelled, unlabelled):
    optimizer.zero_grad()
    supervised = nn.functional.cross_entropy(model(x), y)
    supervised.backward()
    with torch.no_grad():
        guess = average(u).softmax(1)
    consistency = nn.functional.mse_loss(model(u).softmax(1), guess)
    consistency.backward()
    optimizer.step()
    average.update_parameters(model)
