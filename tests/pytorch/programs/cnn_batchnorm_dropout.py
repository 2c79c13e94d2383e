# equal: convolutions with batch normalisation and dropout, momentum, and an odd last batch
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

images, labels = torch.randn(45, 1, 8, 8), torch.randint(0, 3, (45,))
loader = DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True)
model = nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(144, 3)
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
for _ in range(3):
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
