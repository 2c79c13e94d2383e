# equal within 1e-7: an optimizer that asks a closure for the loss as often as it likes
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

x = torch.randn(60, 4)
model = nn.Linear(4, 1)
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=5)
for inputs, target in DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=20):

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), target)
        loss.backward()
        return loss

    optimizer.step(closure)
