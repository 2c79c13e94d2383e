# told (torch.no_grad): a loop that evaluates without switching gradients off
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

model = nn.Linear(4, 2).eval()
right = 0
for inputs, labels in DataLoader(TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,))), batch_size=16):
    right += (model(inputs).argmax(1) == labels).sum().item()
