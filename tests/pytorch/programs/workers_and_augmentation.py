# equal: a loader with processes of its own, a batch sampler, and images that are changed at random as they are loaded
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

images = torch.randn(38, 6)


class Augmented(Dataset):
    def __len__(self):
        return len(images)

    def __getitem__(self, index):
        return images[index] + 0.1 * torch.randn(6), index % 3


data = Augmented()
sampler = BatchSampler(RandomSampler(data), batch_size=8, drop_last=True)
loader = DataLoader(data, batch_sampler=sampler, num_workers=2, persistent_workers=True)
model = nn.Linear(6, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
