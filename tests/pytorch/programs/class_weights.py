# equal: class weights and ignored targets, whose mean divides by more than rows
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

x, y = torch.randn(37, 5), torch.randint(0, 3, (37,))
y[torch.rand(37) < 0.4] = -100
model = nn.Linear(5, 3)
criterion = nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0]), label_smoothing=0.1)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
for _ in range(2):
    for inputs, labels in DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True):
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()
