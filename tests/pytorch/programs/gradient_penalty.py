# equal: a penalty on gradients with respect to the inputs, by a graph of gradients
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

critic = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
for real, fake in DataLoader(TensorDataset(torch.randn(44, 5), torch.randn(44, 5)), batch_size=12):
    optimizer.zero_grad()
    mix = torch.rand(len(real), 1)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    scores = critic(between)
    (slopes,) = torch.autograd.grad(scores, between, torch.ones_like(scores), create_graph=True)
    loss = critic(fake).mean() - critic(real).mean() + 10 * ((slopes.norm(2, dim=1) - 1) ** 2).mean()
    loss.backward()
    optimizer.step()
