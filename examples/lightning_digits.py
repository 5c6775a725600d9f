"""Train a small classifier on scikit-learn's handwritten digits with Lightning.

pip install '.[lightning]' scikit-learn
python examples/lightning_digits.py
"""

from __future__ import annotations

import argparse

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import ringmeter as rm
from ringmeter.integrations.lightning import RingmeterCallback, RingmeterProgressBar


class Classifier(pl.LightningModule):
    """Its steps return scalars: that is all it takes to record them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch: list[Tensor]) -> dict[str, Tensor]:
        images, labels = batch
        logits = self.body(images)
        rm.MessageHub.get_current_instance().update_scalar(
            'train/unsure', 1 - logits.softmax(1).amax(1).mean()
        )
        return {
            'loss': functional.cross_entropy(logits, labels),
            'accuracy': (logits.argmax(1) == labels).float().mean(),
        }

    def validation_step(self, batch: list[Tensor]) -> dict[str, dict[str, Tensor | int]]:
        images, labels = batch
        correct = (self.body(images).argmax(1) == labels).sum()
        return {'accuracy': {'value': correct, 'count': len(labels)}}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


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
    parser.add_argument('--epochs', type=int, default=3, help='length of the run (default: 3)')
    parser.add_argument('--work-dir', default='work_dirs/lightning_digits')
    args = parser.parse_args()

    pl.seed_everything(0)
    trainer = pl.Trainer(
        accelerator='cpu',
        max_epochs=args.epochs,
        callbacks=[RingmeterCallback(interval=10), RingmeterProgressBar(names=['loss', 'accuracy'])],
        logger=pl.loggers.CSVLogger(args.work_dir),  # gets the statistics of the lines, as any other would
    )
    trainer.fit(Classifier(), *load_data())


if __name__ == '__main__':
    main()
