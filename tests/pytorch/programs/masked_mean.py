# refused (mixes the rows): a mean over a mask that the loop computes itself
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

model = nn.Linear(6, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
mask = (torch.rand(32, 4) < torch.linspace(0.1, 0.9, 32).unsqueeze(1)).to(torch.get_default_dtype())
for x, m in DataLoader(TensorDataset(torch.randn(32, 6), mask), batch_size=8):
    optimizer.zero_grad()
    loss = (model(x) ** 2 * m).sum() / m.sum()
    loss.backward()
    optimizer.step()
