# equal: two loaders side by side, augmentation at random, dropout and batch normalisation over both batches
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset


class Noisy(Dataset):
    def __init__(self):
        self.x = torch.randn(53, 8)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index] + 0.1 * torch.rand(8), (self.x[index].sum() > 0).long()


labelled, unlabelled = DataLoader(Noisy(), batch_size=8, shuffle=True), TensorDataset(torch.randn(40, 8))
model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
told = []
for _ in range(2):
    for (inputs, labels), (others,) in zip(labelled, DataLoader(unlabelled, batch_size=8, shuffle=True), strict=False):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels) + 0.1 * model(others).square().mean()
        loss.backward()
        optimizer.step()
        told.append(loss.item())
