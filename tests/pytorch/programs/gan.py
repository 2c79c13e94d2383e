# equal: two networks, two optimizers, three losses in a step, noise of the loop's own
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))
discriminator = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1), nn.Sigmoid())
criterion = nn.BCELoss()
of_d = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
of_g = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
for _ in range(2):
    for (real,) in DataLoader(TensorDataset(torch.randn(40, 6)), batch_size=16):
        discriminator.zero_grad()
        label = torch.full((real.size(0),), 1.0)
        error_real = criterion(discriminator(real).view(-1), label)
        error_real.backward()
        fake = generator(torch.randn(real.size(0), 4))
        label.fill_(0.0)
        error_fake = criterion(discriminator(fake.detach()).view(-1), label)
        error_fake.backward()
        of_d.step()
        generator.zero_grad()
        label.fill_(1.0)
        error = criterion(discriminator(fake).view(-1), label)
        error.backward()
        of_g.step()
