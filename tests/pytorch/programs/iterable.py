# equal: a dataset that is a stream, L2 written by hand, and a weighted sampler beside it
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler


class Stream(IterableDataset):
    def __iter__(self):
        generator = torch.Generator().manual_seed(3)
        for _ in range(33):
            x = torch.randn(5, generator=generator)
            yield x, (x.sum() > 0).to(x.dtype)


x = torch.randn(50, 5)
weighted = DataLoader(
    TensorDataset(x, (x[:, 0] > 0).to(x.dtype)), batch_size=10, sampler=WeightedRandomSampler(torch.rand(50), 30)
)
model = nn.Linear(5, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for loader in (DataLoader(Stream(), batch_size=8), weighted):
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(inputs).squeeze(1), labels)
        loss = loss + 1e-2 * sum(p.pow(2).sum() for p in model.parameters())
        loss.backward()
        optimizer.step()
