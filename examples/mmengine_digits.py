"""Train a small classifier on scikit-learn's handwritten digits with mmengine's Runner, on ringmeter.

pip install '.[mmengine]' scikit-learn
python examples/mmengine_digits.py           # with the backend
python examples/mmengine_digits.py --stock   # without: the same lines
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from ringmeter.integrations import mmengine as backend


class Classifier(BaseModel):  # type: ignore[misc]
    """Returns its losses as a dict, as mmengine's models do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: Tensor, labels: Tensor, mode: str = 'tensor') -> Any:
        logits = self.body(images)
        if mode == 'predict':
            return [(logits.argmax(1), labels)]
        wrong = 1 - logits.softmax(1).gather(1, labels[:, None])
        return {'loss_class': functional.cross_entropy(logits, labels), 'loss_wrong': wrong.mean()}


class Accuracy(BaseMetric):  # type: ignore[misc]
    """The share of images that were recognised."""

    def process(self, data_batch: Any, data_samples: Any) -> None:  # noqa: ARG002
        self.results += [(predicted == labels).float().mean().item() for predicted, labels in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {'accuracy': sum(results) / len(results)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--stock', action='store_true', help='leave mmengine as it is')
    parser.add_argument('--epochs', type=int, default=3, help='length of the run (default: 3)')
    parser.add_argument('--work-dir', default='work_dirs/mmengine_digits')
    args = parser.parse_args()
    if not args.stock:
        backend.install()

    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    samples = [
        {'images': image, 'labels': torch.tensor(label)}
        for image, label in zip(images, digits.target.tolist(), strict=True)
    ]
    torch.manual_seed(0)
    runner = Runner(
        Classifier(),
        args.work_dir,
        train_dataloader=loader(samples[:1600], shuffle=True),
        val_dataloader=loader(samples[1600:], shuffle=False),
        train_cfg={'by_epoch': True, 'max_epochs': args.epochs},
        val_cfg={},
        val_evaluator=[Accuracy()],
        optim_wrapper={
            'optimizer': {'type': 'SGD', 'lr': 0.05, 'momentum': 0.9},
            'clip_grad': {'max_norm': 5.0},
        },
        randomness={'seed': 0},
    )
    runner.train()


def loader(samples: list[Any], shuffle: bool) -> dict[str, Any]:
    return {
        'dataset': samples,
        'batch_size': 64,
        'sampler': {'type': 'DefaultSampler', 'shuffle': shuffle},
        'collate_fn': {'type': 'default_collate'},
    }


if __name__ == '__main__':
    main()
