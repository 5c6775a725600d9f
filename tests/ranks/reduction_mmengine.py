"""What each rank does in test_reduction.py with mmengine's Runner."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reduction as checks
import torch
import torch.distributed as dist
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ringmeter.integrations import mmengine as backend


class Numbers(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.full((2,), float(index))


class Model(BaseModel):
    """Its loss is the mean of its batch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def forward(self, inputs, mode='tensor'):
        inputs = torch.stack(inputs) if isinstance(inputs, list) else inputs
        value = inputs.mean() + 0.0 * self.weight.sum()
        return {'loss': value} if mode == 'loss' else [value]


class Mean(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(float(data_samples[0]))

    def compute_metrics(self, results):
        return {'mean': sum(results) / len(results)}


def run(folder, reduce):
    loader = {
        'dataset': Numbers(),
        'batch_size': 1,
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        'num_workers': 0,
    }
    runner = Runner(
        model=MMDistributedDataParallel(module=Model()),  # the Runner's own way asks for a GPU, too
        work_dir=str(folder),
        experiment_name=folder.name,
        launcher='pytorch',
        train_dataloader=loader,
        val_dataloader=loader,
        val_cfg={},
        val_evaluator=[Mean()],
        train_cfg={'by_epoch': True, 'max_epochs': 2},
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.0}},
        log_processor={'window_size': 1, 'reduce': reduce},
        default_hooks={'logger': {'type': 'LoggerHook', 'interval': 4}},
        default_scope='mmengine',
        randomness={'seed': 0},
    )
    seen = []
    for name in ('get_log_after_iter', 'get_log_after_epoch'):
        method = getattr(runner.log_processor, name)

        def noting(*args, _method=method, **kwargs):
            before = len(checks.calls)
            tag, line = _method(*args, **kwargs)
            seen.append([len(checks.calls) - before, runner.iter, line])
            return tag, line

        setattr(runner.log_processor, name, noting)
    runner.train()
    log = next(folder.glob('*/*.log')).read_text() if runner.rank == 0 else ''
    return {'seen': seen, 'log': log, 'rank': runner.rank}


def main(folder):
    results = {}
    dist.init_process_group('gloo')  # mmengine's own way asks for a GPU
    checks.count_collectives()
    for lines in ('now', 'deferred'):
        backend.install(lines=lines)
        results[lines] = run(folder / lines, 'mean')
        backend.uninstall()
    (folder / f'{results["now"]["rank"]}.json').write_text(json.dumps(results))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
