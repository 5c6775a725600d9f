"""Train a small classifier on scikit-learn's handwritten digits with a hand-written PyTorch loop.

pip install . torch scikit-learn
python examples/digits.py            # lines that count epochs
python examples/digits.py --by-iter  # lines that count iterations
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import ringmeter as rm


class Classifier(nn.Module):
    """Returns its losses as a dict, and records how unsure it is on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.body(images)
        probabilities = logits.softmax(1)
        unsure = 1 - probabilities.amax(1).mean()
        rm.MessageHub.get_current_instance().update_scalar('train/loss_tmp', unsure)
        return {
            'loss1': functional.cross_entropy(logits, labels),
            'loss2': (functional.one_hot(labels, 10) - probabilities).square().sum(1).mean(),
        }


def load_data() -> tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]:
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels))
    train, val = (TensorDataset(images[part], labels[part]) for part in (order[:1600], order[1600:]))
    return DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--by-iter', action='store_true', help='count iterations instead of epochs')
    parser.add_argument('--epochs', type=int, default=3, help='length of the run (default: 3)')
    parser.add_argument('--iters', type=int, default=1000, help='length with --by-iter (default: 1000)')
    parser.add_argument('--work-dir', default='work_dirs/digits')
    args = parser.parse_args()

    torch.manual_seed(0)
    train_loader, val_loader = load_data()
    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    meter = rm.LoopLogger(
        optimizer,
        max_epochs=None if args.by_iter else args.epochs,
        max_iters=args.iters if args.by_iter else None,
        custom_cfg=[{'data_src': 'loss_tmp', 'window_size': 20, 'method_name': 'mean'}],
        work_dir=args.work_dir,
    )
    for _ in meter.epochs():
        for images, labels in meter.train(train_loader):
            loss = meter.log(model(images, labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if args.by_iter and meter.epoch % 10 != 0:
            continue
        with torch.no_grad():
            for images, labels in meter.val(val_loader):
                correct = (model.body(images).argmax(1) == labels).sum()
                meter.log(accuracy={'value': correct, 'count': len(labels)})


if __name__ == '__main__':
    main()
