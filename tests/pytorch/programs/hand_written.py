# equal: weights without a module or an optimizer, by autograd.grad and by backward
import torch
from torch.utils.data import DataLoader, TensorDataset

x = torch.randn(42, 3)
y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3
weights = torch.zeros(3, requires_grad=True)
bias = torch.nn.Parameter(torch.zeros(()))
for inputs, target in DataLoader(TensorDataset(x, y), batch_size=10):
    loss = ((inputs @ weights + bias - target) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        weights -= 0.1 * weights.grad
        bias -= 0.1 * bias.grad
        weights.grad.zero_()
        bias.grad.zero_()
    (slope,) = torch.autograd.grad(((inputs @ weights + bias - target) ** 2).mean(), [bias])
    with torch.no_grad():
        bias -= 0.05 * slope
