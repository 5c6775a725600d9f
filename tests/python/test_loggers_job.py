"""Loggers and LoopLogger in a job of four processes that torchrun launches."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip('torch')
pytest.importorskip('sklearn')

RANKS = range(4)


@pytest.fixture(scope='module')
def job(tmp_path_factory):
    """The folder that a job has written, and its output."""
    folder = tmp_path_factory.mktemp('job')
    here = Path(__file__).parent
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '4']
    done = subprocess.run(
        [*launcher, str(here / 'loggers_job.py'), str(folder), str(here.parents[1] / 'examples')],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout.splitlines()


def messages(path):
    return [line.split(' - ')[-1] for line in path.read_text().splitlines()]


def test_rank_is_the_launchers_without_torch(job):
    folder, out = job
    assert [json.loads((folder / f'report{rank}.json').read_text())['has_torch'] for rank in RANKS] == [
        False
    ] * 4
    names = ['exp.log', 'exp_rank1.log', 'exp_rank2.log', 'exp_rank3.log']
    assert sorted(path.name for path in (folder / 'before').iterdir()) == names
    for rank, name in enumerate(names):
        texts = messages(folder / 'before' / name)
        assert f'Get rank from environment variable RANK: {rank} of 4' in texts
        assert [text for text in texts if ' of ' in text and not text.startswith('Get')] == [
            f'warning of {rank}',
            f'error of {rank}',
        ]
    shown = Counter(re.findall(r'(?:warning|error) of \d', '\n'.join(out)))
    assert shown == Counter(['warning of 0', *(f'error of {rank}' for rank in RANKS)])


@pytest.mark.parametrize('name', ['debug', 'every'])
def test_files_of_all_ranks_have_the_time_of_one(job, name):
    folder, _ = job
    files = sorted(path.name for path in (folder / name).glob('*.log'))
    (stamp,) = {file[:15] for file in files}
    assert files == [f'{stamp}.log', *(f'{stamp}_rank{rank}.log' for rank in RANKS[1:])]
    for file in files:
        texts = messages(folder / name / file)
        assert [text.split('  ')[0] for text in texts if text.startswith('Epoch')] == [
            'Epoch(train) [1][10/10]'
        ]
        assert any(text.startswith('Get') for text in texts) == (name == 'debug')


def test_rank_is_that_of_torch_distributed_once_it_is_initialised(job):
    folder, _ = job
    for rank, path in enumerate(sorted((folder / 'debug').glob('*.log'))):
        assert f'Get rank from torch.distributed: {rank} of 4' in messages(path)


def test_only_the_first_rank_prints_lines_and_writes_records(job):
    folder, out = job
    lines = Counter(line.split(' - ')[1] for line in out if 'Epoch(train)' in line)
    assert lines == {'debug': 1, 'every': 1, 'first': 1, 'ringmeter': 2}
    assert [path.suffix for path in (folder / 'first').iterdir() if path.is_file()] == ['.log']
    for name in ('debug', 'every', 'first'):
        records = (folder / name / 'vis_data' / 'scalars.json').read_text().splitlines()
        assert [json.loads(record)['loss'] for record in records] == [1.0]


def test_example_trains(job):
    folder, out = job
    texts = messages(folder / 'digits' / 'digits.log')
    assert texts == ['4 processes, 400 images each']
    (line,) = [line for line in out if 'Epoch(val)' in line]
    assert float(re.search(r'accuracy: (\S+)', line)[1]) > 0.2  # guessing has 0.1
