"""Train a small classifier on scikit-learn's handwritten digits with Hugging Face accelerate.

pip install '.[accelerate]' scikit-learn
accelerate launch examples/accelerate_digits.py    # or plain python
"""

from __future__ import annotations

import argparse

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import ringmeter.integrations.accelerate  # noqa: F401  from here on, accelerate knows 'ringmeter'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--epochs', type=int, default=4, help='length of the run (default: 4)')
    parser.add_argument('--work-dir', default='work_dirs')
    args = parser.parse_args()

    accelerator = Accelerator(log_with='ringmeter', project_dir=args.work_dir)
    config = {'lr': 0.01, 'batch_size': 64}
    accelerator.init_trackers('accelerate_digits', config, {'ringmeter': {'interval': 10}})

    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    data = TensorDataset(images, torch.tensor(digits.target))
    train_loader = DataLoader(data, batch_size=64, shuffle=True)
    val_loader = DataLoader(data, batch_size=256)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model, optimizer, train_loader, val_loader = accelerator.prepare(
        model, optimizer, train_loader, val_loader
    )
    step = 0
    for _ in range(args.epochs):
        for batch, labels in train_loader:
            loss = functional.cross_entropy(model(batch), labels)
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            accelerator.log({'loss': loss, 'grad_norm': norm}, step=step)  # no .item(): nothing waits
        with torch.no_grad():
            correct = sum((model(batch).argmax(1) == labels).sum() for batch, labels in val_loader)
        accelerator.log({'val/accuracy': correct / len(data)}, step=step)
    accelerator.end_training()


if __name__ == '__main__':
    main()
