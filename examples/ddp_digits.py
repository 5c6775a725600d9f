"""Train the classifier of digits.py in several processes, with DistributedDataParallel on the CPU.

pip install . torch scikit-learn
torchrun --nproc-per-node 4 examples/ddp_digits.py
torchrun --nproc-per-node 4 examples/ddp_digits.py --log-level DEBUG  # a log file for each rank
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from digits import Classifier
from sklearn.datasets import load_digits
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import ringmeter as rm


def load_data() -> tuple[TensorDataset, TensorDataset]:
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels))  # with the same seed on every rank
    train, val = (TensorDataset(images[part], labels[part]) for part in (order[:1600], order[1600:]))
    return train, val


def train(epochs: int, work_dir: str, log_level: str) -> None:
    torch.manual_seed(0)
    train_data, val_data = load_data()
    sampler: DistributedSampler[tuple[torch.Tensor, ...]] = DistributedSampler(train_data)
    train_loader = DataLoader(train_data, batch_size=16, sampler=sampler)
    val_loader = DataLoader(val_data, batch_size=64, sampler=DistributedSampler(val_data, shuffle=False))
    model = DistributedDataParallel(Classifier())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    logger = rm.get_logger('digits', Path(work_dir) / 'digits.log', log_level)
    logger.info('%d processes, %d images each', distributed.get_world_size(), len(sampler))
    meter = rm.LoopLogger(optimizer, max_epochs=epochs, work_dir=work_dir, log_level=log_level)
    for epoch in meter.epochs():
        sampler.set_epoch(epoch)
        for images, labels in meter.train(train_loader):
            loss = meter.log(model(images, labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            for images, labels in meter.val(val_loader):
                correct = (model.module.body(images).argmax(1) == labels).sum()
                meter.log(accuracy={'value': correct, 'count': len(labels)})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--epochs', type=int, default=3, help='length of the run (default: 3)')
    parser.add_argument('--work-dir', default='work_dirs/ddp_digits')
    parser.add_argument('--log-level', default='INFO', help='DEBUG: a log file for each rank')
    args = parser.parse_args()

    distributed.init_process_group('gloo')
    try:
        train(args.epochs, args.work_dir, args.log_level)
    finally:
        distributed.destroy_process_group()


if __name__ == '__main__':
    main()
