# equal: sequences of different length, padded by a function of the loop's own and packed
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

sequences = [(torch.randn(int(n), 3), int(n) % 2) for n in torch.randint(2, 9, (30,))]


def collate(samples):
    texts, labels = zip(*samples)
    return pad_sequence(texts, batch_first=True), torch.tensor([len(t) for t in texts]), torch.tensor(labels)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, padded, lengths):
        _, (hidden, _) = self.lstm(pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False))
        return self.out(hidden[-1])


model = Tagger()
optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)
for _ in range(2):
    for padded, lengths, labels in DataLoader(sequences, batch_size=7, shuffle=True, collate_fn=collate):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(padded, lengths), labels)
        loss.backward()
        optimizer.step()
