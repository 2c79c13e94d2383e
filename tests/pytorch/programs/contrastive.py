# refused (mixes the rows): each row's loss is over all rows of the batch
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

model = nn.Linear(6, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for a, b in DataLoader(TensorDataset(torch.randn(32, 6), torch.randn(32, 6)), batch_size=8):
    optimizer.zero_grad()
    one, other = nn.functional.normalize(model(a)), nn.functional.normalize(model(b))
    loss = nn.functional.cross_entropy(one @ other.T / 0.1, torch.arange(len(a)))
    loss.backward()
    optimizer.step()
