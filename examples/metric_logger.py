"""Train on scikit-learn's handwritten digits as torchvision's reference scripts do.

pip install . torch scikit-learn
python examples/metric_logger.py
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ringmeter.compat import MetricLogger, SmoothedValue

Loader = DataLoader[tuple[Tensor, ...]]


def train_one_epoch(
    model: nn.Module, loader: Loader, optimizer: torch.optim.Optimizer, device: torch.device, epoch: int
) -> None:
    model.train()
    metric_logger = MetricLogger(delimiter='  ')
    metric_logger.add_meter('lr', SmoothedValue(window_size=1, fmt='{value:.6f}'))
    for images, labels in metric_logger.log_every(loader, print_freq=10, header=f'Epoch: [{epoch}]'):
        images, labels = images.to(device), labels.to(device)  # noqa: PLW2901
        output = model(images)
        loss = nn.functional.cross_entropy(output, labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        # Tensors as they are: no .item(), which would wait for the device.
        metric_logger.update(loss=loss, lr=optimizer.param_groups[0]['lr'])
        metric_logger.meters['acc1'].update(accuracy(output, labels), n=len(labels))


@torch.no_grad()
def evaluate(model: nn.Module, loader: Loader, device: torch.device) -> float:
    model.eval()
    metric_logger = MetricLogger(delimiter='  ')
    for images, labels in metric_logger.log_every(loader, print_freq=100, header='Test:'):
        images, labels = images.to(device), labels.to(device)  # noqa: PLW2901
        output = model(images)
        metric_logger.update(loss=nn.functional.cross_entropy(output, labels))
        metric_logger.meters['acc1'].update(accuracy(output, labels), n=len(labels))
    metric_logger.synchronize_between_processes()
    print(f'Test: Acc@1 {metric_logger.acc1.global_avg:.3f}')
    return float(metric_logger.acc1.global_avg)


def accuracy(output: Tensor, labels: Tensor) -> Tensor:
    """Return how many percent of the predictions are right."""
    return (output.argmax(1) == labels).float().mean() * 100


def load_data() -> tuple[Loader, Loader]:
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels))
    train, test = (TensorDataset(images[part], labels[part]) for part in (order[:1500], order[1500:]))
    return DataLoader(train, batch_size=64, shuffle=True), DataLoader(test, batch_size=64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--epochs', type=int, default=3, help='length of the run (default: 3)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()

    torch.manual_seed(0)
    device = torch.device(args.device)
    train_loader, test_loader = load_data()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(args.epochs):
        train_one_epoch(model, train_loader, optimizer, device, epoch)
        evaluate(model, test_loader, device)


if __name__ == '__main__':
    main()
