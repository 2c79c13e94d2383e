# equal within 1e-7: a language model with tied weights and dropout, rows of time by batch, accumulation over two batches
import torch
from torch import nn
from torch.utils.data import DataLoader


class LM(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.out = nn.Linear(8, 11)
        self.out.weight = self.embed.weight

    def forward(self, tokens):
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.size(1))
        return self.out(self.encoder(self.embed(tokens), mask=mask))


tokens = torch.randint(0, 11, (26, 7))
model = LM()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
for _ in range(2):
    for step, batch in enumerate(DataLoader(tokens, batch_size=6, shuffle=True)):
        logits = model(batch[:, :-1])
        loss = nn.functional.cross_entropy(logits.reshape(-1, 11), batch[:, 1:].reshape(-1)) / 2
        loss.backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
