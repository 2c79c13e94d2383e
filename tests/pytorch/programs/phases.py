# equal: training and validation phases in one loop, told apart by set_grad_enabled; the best weights are kept in a file
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

sets = {phase: TensorDataset(torch.randn(n, 8), torch.randint(0, 2, (n,))) for phase, n in (("train", 61), ("val", 29))}
loaders = {phase: DataLoader(sets[phase], batch_size=8, shuffle=True) for phase in sets}
model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
told, best = [], float("inf")
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "best.pt"
    for _ in range(3):
        for phase in ("train", "val"):
            model.train(phase == "train")
            losses = []
            for inputs, labels in loaders[phase]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    loss = nn.functional.cross_entropy(model(inputs), labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                losses.append(loss.item())
            told += losses
            if phase == "train":
                schedule.step()
            elif sum(losses) < best:
                best = sum(losses)
                torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path))
