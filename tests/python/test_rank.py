"""Which process of a job this is."""

from __future__ import annotations

import pytest

import ringmeter as rm
from ringmeter._rank import _VARIABLES, current_rank


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for names in _VARIABLES:
        for name in names:
            monkeypatch.delenv(name, raising=False)


def test_process_that_nobody_launched_is_alone():
    assert current_rank() == (0, 1)


@pytest.mark.parametrize(
    'variables',
    [{'WORLD_SIZE': '8'}, {'RANK': '', 'WORLD_SIZE': ''}, {'SLURM_NTASKS': '8', 'SLURM_JOB_ID': '1'}],
)
def test_size_without_a_rank_is_no_launchers(monkeypatch, variables):
    for name, value in variables.items():  # the last as in a shell that salloc has opened
        monkeypatch.setenv(name, value)
    assert current_rank() == (0, 1)


@pytest.mark.parametrize(('rank_name', 'size_name'), _VARIABLES)
def test_rank_is_the_launchers(monkeypatch, rank_name, size_name):
    monkeypatch.setenv(rank_name, '3')
    assert current_rank() == (3, 4)
    monkeypatch.setenv(size_name, '8')
    assert current_rank() == (3, 8)


def test_torchrun_inside_of_slurm_counts(monkeypatch):
    for name, value in {'SLURM_PROCID': '0', 'SLURM_NTASKS': '1', 'RANK': '5', 'WORLD_SIZE': '8'}.items():
        monkeypatch.setenv(name, value)
    assert current_rank() == (5, 8)


@pytest.mark.parametrize('text', ['x', '-1', '1.5', ' '])
def test_rank_that_is_no_number_is_named(monkeypatch, text):
    monkeypatch.setenv('RANK', text)
    with pytest.raises(
        rm.ArgumentError, match='environment variable RANK must be an int of at least 0, got '
    ):
        current_rank()


def test_number_of_processes_is_checked(monkeypatch):
    monkeypatch.setenv('RANK', '4')
    monkeypatch.setenv('WORLD_SIZE', '0')
    with pytest.raises(rm.ArgumentError, match="WORLD_SIZE must be an int of at least 1, got '0'"):
        current_rank()
    monkeypatch.setenv('WORLD_SIZE', '4')
    with pytest.raises(rm.ArgumentError, match='RANK must be less than WORLD_SIZE=4, got 4'):
        current_rank()
