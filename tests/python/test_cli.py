"""The command ``ringmeter``: what it prints and draws, and how it fails."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringmeter.cli import main
from ringmeter.cli._braille import braille
from ringmeter.cli._decimation import decimate, newest
from ringmeter.cli._smoothing import smooth
from ringmeter.cli.tail import frame
from ringmeter.readers import LogFile

DATA = Path(__file__).with_name('data')
SCALARS = str(DATA / 'scalars.json')


def scalars_file(path: Path, losses: list[float], **more: float) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({'loss': loss, **more, 'iter': index, 'step': index})
        for index, loss in enumerate(losses, 1)
    ]
    path.write_text('\n'.join(lines) + '\n')
    return str(path)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an error of exit code 1."""
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ''
    (line,) = err.splitlines()
    return line


# ---- times ----


def test_times_are_those_of_mmdetection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(1, 10, 9.0), (1, 20, 1.0), (1, 30, 2.0), (2, 40, 9.0), (2, 50, 3.0), (2, 60, 4.0)]
    path = tmp_path / 'scalars.json'
    path.write_text(
        ''.join(json.dumps({'time': time, 'epoch': epoch, 'iter': iter}) + '\n' for epoch, iter, time in rows)
    )
    assert main(['times', str(path)]) == 0
    assert capsys.readouterr().out == (
        f'-----Analyze train time of {path}-----\n'
        'slowest epoch 2, average time is 3.5000 s/iter\n'
        'fastest epoch 1, average time is 1.5000 s/iter\n'
        'time std over epochs is 1.0000\n'
        'average iter time: 2.5000 s/iter\n'
    )
    assert main(['times', '--include-outliers', str(path)]) == 0
    assert 'slowest epoch 2, average time is 5.3333 s/iter' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('name', 'line'),
    [
        ('metrics.json', 'average iter time: 0.1030 s/iter'),
        ('trainer_state.json', 'average iter time: 0.0029 s/iter'),
        ('mmengine.log', 'fastest epoch 2, average time is 0.0017 s/iter'),
        ('ringmeter.log', 'slowest epoch 2, average time is 0.0040 s/iter'),
    ],
)
def test_times_of_other_formats(capsys: pytest.CaptureFixture[str], name: str, line: str) -> None:
    assert main(['times', str(DATA / name)]) == 0
    assert line in capsys.readouterr().out.splitlines()


def test_times_without_times_say_what_was_expected(capsys: pytest.CaptureFixture[str]) -> None:
    error = fails(capsys, 'times', SCALARS, str(DATA / 'metrics.csv'))
    assert "metrics.csv: no times in it: expected 'time'" in error


# ---- tail ----


def test_tail_once_shows_values_and_plots(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('COLUMNS', '60')
    assert main(['tail', '--once', str(DATA / 'ringmeter.log'), '--keys', 'loss', 'val/accuracy']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith('ringmeter.log  iteration 75  epoch 3.00  eta 0:00:00')
    assert any('loss: 2.584' in line for line in lines)
    loss = lines.index('loss')
    assert lines[loss + 1].startswith('3.235 ⠉⠉⠉⠑⠒')
    assert lines[loss + 4].startswith('2.584 ⠀')
    assert lines[loss + 6] == 'val/accuracy'
    assert len(lines) == loss + 11
    assert all(len(line) <= 60 for line in lines[1:])


@pytest.mark.parametrize(
    ('height', 'expected'),
    [
        (40, (14, 3, '')),
        (24, (10, 2, '... and 5 lines more')),
        (14, (6, 1, '... and 9 lines more')),
        (9, (1, 1, '... and 14 lines more')),
        (8, (6, 0, '... and 9 lines more')),
        (3, (1, 0, '... and 14 lines more')),
    ],
)
def test_tail_fits_into_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, height: int, expected: tuple[int, int, str]
) -> None:
    monkeypatch.setenv('COLUMNS', '40')
    monkeypatch.chdir(tmp_path)
    path = Path('scalars.json')
    records = [{f'loss_{key:02d}_of_a_long_name': 1.0 * step for key in range(14)} for step in (1, 2)]
    path.write_text(''.join(json.dumps(record | {'step': 1}) + '\n' for record in records))
    with contextlib.closing(LogFile(path)) as file:
        lines = frame(file.read(), None, height).splitlines()
    rows, plots, more = expected
    assert len(lines) == 2 + rows + 6 * plots
    assert len(lines) <= height
    assert [line for line in lines if line.startswith('...')] == [more] * bool(more)


def test_tail_follows_until_interrupted(tmp_path: Path) -> None:
    path = tmp_path / 'scalars.json'
    path.touch()
    command = [sys.executable, '-m', 'ringmeter', 'tail', '--interval', '0.05', str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        wait_for(process, 'nothing in it yet')
        scalars_file(path, [1.0, 2.0])
        wait_for(process, 'iteration 2')
        with path.open('a') as file:
            file.write('{"loss": 7.5, "iter": 3, "step": 3}\n')
        wait_for(process, 'iteration 3')
        assert 'loss: 7.5' in ''.join(process.stdout.readline() for _ in range(2))
        path.unlink()
        scalars_file(path, [4.0])
        wait_for(process, 'iteration 1')
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, '')


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read what a process prints up to a line with a text, or fail where its output ends."""
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    for line in process.stdout:
        if text in line:
            return
        assert time.monotonic() < deadline
    pytest.fail(f'{text!r} was not printed')


def test_braille_shows_the_range_of_what_shares_a_column() -> None:
    spike = np.zeros(1000)
    spike[500] = 1.0
    top, bottom = braille(spike, 10, 2)
    assert bottom == '⣀⣀⣀⣀⣀⣇⣀⣀⣀⣀'
    assert top == '⠀⠀⠀⠀⠀⡇⠀⠀⠀⠀'
    assert braille(np.full(5, math.nan), 3, 1) == ['⠀⠀⠀']
    assert braille(np.array([1.0, math.inf, 1.0]), 2, 1)[0][0] != '⠀'
    assert braille(np.array([-1.7e308, 1.7e308]), 2, 1) == braille(np.array([-1.0, 1.0]), 2, 1)


# ---- what is drawn ----


@pytest.mark.parametrize('weight', [0.0, 0.6, 0.99])
def test_smoothing_below_1_is_tensorboards(weight: float) -> None:
    # As TensorBoard's documentation has it: a sum of weights w^k, over the sum of these weights.
    values = np.random.default_rng(0).normal(size=50)
    expected = [
        np.average(values[: n + 1], weights=weight ** np.arange(n, -1, -1.0)) for n in range(len(values))
    ]
    np.testing.assert_allclose(smooth(values, weight), expected)


def test_smoothing_from_2_is_the_mean_of_a_window() -> None:
    values = np.array([1.0, 2.0, math.nan, 6.0, 10.0, math.inf, 2.0])
    np.testing.assert_array_equal(smooth(values, 2), [1, 1.5, math.nan, 4, 8, math.inf, 6])
    np.testing.assert_array_equal(smooth(values, 0.0), values)


@pytest.mark.parametrize('size', [2, 3, 7, 16, 50, 1e300])
def test_windows_forget_what_has_left_them(size: float) -> None:
    values = np.random.default_rng(0).normal(size=60)
    values[20] = 1e20
    expected = [values[int(max(0, n + 1 - size)) : n + 1].mean() for n in range(60)]
    np.testing.assert_allclose(smooth(values, size), expected, rtol=1e-12, atol=1e-12)


def test_decimation_keeps_spikes_and_gaps() -> None:
    x = np.arange(100_000.0)
    y = np.sin(x / 10_000)
    y[77_777], y[1_234] = 50.0, -50.0
    y[40_000:50_000] = math.nan
    few_x, few_y = decimate(x, y, 100)
    assert len(few_x) <= 400
    assert (np.diff(few_x) > 0).all()
    np.testing.assert_array_equal(few_y, y[few_x.astype(int)])
    assert {50.0, -50.0} <= set(few_y.tolist())
    assert (few_x[0], few_x[-1]) == (0, 99_999)
    assert np.isnan(few_y[(few_x > 41_000) & (few_x < 49_000)]).all()
    assert np.isnan(few_y).any()
    assert not np.isnan(few_y[(few_x < 39_000) | (few_x > 51_000)]).any()


def test_decimation_takes_points_at_one_place() -> None:
    few_x, few_y = decimate(np.full(1000, 7.0), np.arange(1000.0), 10)
    assert few_x.tolist() == [7.0, 7.0]
    assert few_y.tolist() == [0.0, 999.0]


def test_points_of_the_same_second_are_all_drawn(tmp_path: Path, figures: list[Any]) -> None:
    arguments = ['plot', str(DATA / 'ringmeter.log'), '--x', 'time', '--keys', 'loss']
    assert main([*arguments, '--out', str(tmp_path / 'a.png')]) == 0
    (line,) = figures[0].axes[0].lines
    assert len(line.get_xdata()) == 6


def test_what_a_resumed_run_wrote_again_counts() -> None:
    x = np.array([1.0, 2, 3, 4, 3, 4, 5])
    assert x[newest(x)].tolist() == [1, 2, 3, 4, 5]
    assert np.arange(7)[newest(x)].tolist() == [0, 1, 4, 5, 6]


# ---- plot ----


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were written."""
    pytest.importorskip('matplotlib')
    from matplotlib.figure import Figure

    saved: list[Any] = []
    savefig = Figure.savefig

    def keep(self: Any, *args: Any, **kwargs: Any) -> None:
        saved.append(self)
        savefig(self, *args, **kwargs)

    monkeypatch.setattr(Figure, 'savefig', keep)
    return saved


def labels(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_plot_has_a_labelled_panel_for_each_key(
    tmp_path: Path, figures: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / 'fig.png'
    monkeypatch.chdir(DATA.parent)
    assert main(['plot', 'data/scalars.json', '--out', str(out), '--smooth', '0.5']) == 0
    assert capsys.readouterr() == (f'{out}\n', '')
    assert out.read_bytes().startswith(b'\x89PNG')
    (figure,) = figures
    assert [panel.get_ylabel() for panel in figure.axes] == [
        'lr', 'loss_tmp', 'loss1', 'loss2', 'loss', 'accuracy', 'data_time', 'time',
    ]  # fmt: skip
    assert [panel.get_xlabel() for panel in figure.axes] == [''] * 6 + ['iteration'] * 2
    assert figure.get_size_inches()[0] * figure.get_dpi() == 1000
    assert labels(figure) == ['data/scalars.json: train, smoothed', 'as recorded', 'val']
    recorded, smoothed = figure.axes[4].lines
    np.testing.assert_allclose(recorded.get_ydata()[:2], [3.2351270437240602, 3.165091800689697])
    np.testing.assert_allclose(smoothed.get_ydata()[1], (3.2351270437240602 + 2 * 3.165091800689697) / 3)
    (accuracy,) = figure.axes[5].lines
    assert accuracy.get_marker() == 'o'
    assert accuracy.get_xdata().tolist() == [25, 50, 75]


def test_plot_compares_runs_that_can_be_told_apart(tmp_path: Path, figures: list[Any]) -> None:
    files = [scalars_file(tmp_path / f'run{n}' / 'vis_data' / 'scalars.json', [n, n]) for n in range(20)]
    out = str(tmp_path / 'fig.svg')
    assert main(['plot', *files, '--compare', '--out', out]) == 0
    (figure,) = figures
    (panel,) = figure.axes
    looks = {(line.get_color(), line.get_linestyle()) for line in panel.lines}
    assert len(looks) == 20
    assert labels(figure) == [*(f'run{n}' for n in range(20)), 'train']


def test_plot_without_compare_puts_runs_beside_each_other(tmp_path: Path, figures: list[Any]) -> None:
    files = [scalars_file(tmp_path / name, [1.0, 2.0], lr=0.1) for name in ('a.json', 'b.json')]
    assert main(['plot', *files, '--out', str(tmp_path / 'fig.pdf')]) == 0
    assert [panel.get_title() for panel in figures[0].axes] == ['a.json', 'b.json', '', '']
    assert [panel.get_ylabel() for panel in figures[0].axes] == ['loss', '', 'lr', '']


def test_plot_compares_files_of_different_formats(
    tmp_path: Path, figures: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    names = ['scalars.json', 'mmengine.log', 'trainer_state.json']
    files = [str(DATA / name) for name in names]
    assert (
        main(
            ['plot', *files, '--compare', '--x', 'epoch', '--keys', 'loss', '--out', str(tmp_path / 'a.png')]
        )
        == 0
    )
    assert 'note' not in capsys.readouterr().err
    (panel,) = figures[0].axes
    assert panel.get_xlabel() == 'epoch'
    assert [line.get_xdata().tolist()[-1] for line in panel.lines] == pytest.approx([2.8, 2.8, 3.0, 3.0])
    assert main(['plot', *files, '--compare', '--keys', 'accuracy', '--out', str(tmp_path / 'a.png')]) == 0
    assert capsys.readouterr().err == f"ringmeter: note: 'accuracy' is not in {files[2]}\n"


@pytest.mark.parametrize(('axis', 'label', 'last'), [('time', 'time (min)', 3.0), ('iter', 'iteration', 3)])
def test_plot_axes(tmp_path: Path, figures: list[Any], axis: str, label: str, last: float) -> None:
    file = scalars_file(tmp_path / 'a.json', [1.0, math.nan, 3.0], time=60.0)
    arguments = ['plot', file, '--x', axis, '--keys', 'loss', '--log-y', '--out', str(tmp_path / 'a.png')]
    assert main(arguments) == 0
    (panel,) = figures[0].axes
    assert (panel.get_xlabel(), panel.get_yscale()) == (label, 'log')
    line, not_finite = panel.lines
    assert line.get_xdata()[-1] == last
    assert not_finite.get_xdata().tolist() == [pytest.approx(2 / 3 * last)]
    assert labels(figures[0]) == [f'…{file[-39:]}: train', 'NaN or infinite']


def test_keys_may_be_patterns_or_have_a_mode(tmp_path: Path, figures: list[Any]) -> None:
    arguments = ['plot', SCALARS, '--keys', 'loss?', 'val/time', '--out', str(tmp_path / 'a.png')]
    assert main(arguments) == 0
    assert [panel.get_ylabel() for panel in figures[0].axes] == ['loss1', 'loss2', 'val/time']
    assert len(figures[0].axes[2].lines) == 1
    assert main(['plot', SCALARS, '--keys', 'val/*', '--out', str(tmp_path / 'a.png')]) == 0
    assert [panel.get_ylabel() for panel in figures[1].axes] == ['val/accuracy', 'val/data_time', 'val/time']


def test_names_and_values_of_any_kind_are_drawn(tmp_path: Path, figures: list[Any]) -> None:
    files = [os.fsdecode(os.fsencode(tmp_path) + name) for name in (b'/$a$_{.json', b'/\xff.json')]
    for file in files:
        scalars_file(Path(file), [1.7e308, -1.7e308, 1.0], **{'$x$_{': 2.0, '\ud800': 1.0})
    assert main(['plot', *files, '--compare', '--out', str(tmp_path / 'a.png')]) == 0
    assert [panel.get_ylabel() for panel in figures[0].axes] == ['loss', r'\$x\$_{', '?']
    assert labels(figures[0]) == [r'\$a\$_{.json', '?.json', 'train', 'NaN or infinite']


def test_plot_of_many_keys_tells_what_is_left_out(
    tmp_path: Path, figures: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = scalars_file(tmp_path / 'a.json', [1.0, 2.0], **{f'key{n}': 1.0 for n in range(14)})
    assert main(['plot', file, '--out', str(tmp_path / 'a.png')]) == 0
    assert '12 of 15 keys are shown; --keys shows others: key11, key12, key13' in capsys.readouterr().err
    assert len(figures[0].axes) == 12


# ---- failures ----


def test_unknown_key_names_near_ones_and_all(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    out = tmp_path / 'a.png'
    error = fails(capsys, 'plot', SCALARS, '--keys', 'acuracy', '--out', str(out))
    assert error.endswith(
        f"error: 'acuracy' is not in {SCALARS}; did you mean 'accuracy'? "
        'There are: lr, loss_tmp, loss1, loss2, loss, accuracy, data_time, time'
    )
    assert not out.exists()
    assert "'x' is not in any of the 2 files. There are" in fails(
        capsys, 'plot', SCALARS, SCALARS, '--keys', 'x', '--out', str(out)
    )


def test_picture_that_cannot_be_written_says_why(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    assert '--out must end with one of .' in fails(capsys, 'plot', SCALARS, '--out', str(tmp_path / 'a.txt'))
    assert 'there is no directory' in fails(capsys, 'plot', SCALARS, '--out', str(tmp_path / 'no' / 'a.png'))
    (tmp_path / 'b.png').mkdir()
    error = fails(capsys, 'plot', SCALARS, '--out', str(tmp_path / 'b.png'))
    assert 'b.png cannot be written: Is a directory' in error


def test_axis_that_a_file_does_not_have_names_those_it_has(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip('matplotlib')
    error = fails(
        capsys, 'plot', str(DATA / 'metrics.json'), '--x', 'epoch', '--out', str(tmp_path / 'a.png')
    )
    assert error.endswith('metrics.json: no epochs in it, so --x must be one of iter, time')


@pytest.mark.parametrize(
    ('environment', 'redirection', 'code', 'shown'),
    [
        ({}, '> /dev/full', 1, 'ringmeter: error: standard output: No space left on device\n'),
        ({}, '>&-', 0, ''),
        ({'PYTHONIOENCODING': 'ascii'}, '> /dev/null', 0, ''),
    ],
)
def test_standard_output_may_be_of_any_kind(
    environment: dict[str, str], redirection: str, code: int, shown: str
) -> None:
    done = subprocess.run(
        f'"{sys.executable}" -m ringmeter tail --once {SCALARS} {redirection}',
        shell=True, check=False, stderr=subprocess.PIPE, text=True, env=os.environ | environment,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, shown)


def test_plot_needs_no_backend_of_the_environment(tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    out = str(tmp_path / 'a.png')
    command = [sys.executable, '-m', 'ringmeter', 'plot', SCALARS, '--out', out]
    done = subprocess.run(
        command, check=True, capture_output=True, env=os.environ | {'MPLBACKEND': 'none of its own'}
    )
    assert done.stderr == b''


def test_missing_matplotlib_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib.backend_bases', None)
    assert "'ringmeter[plot]'" in fails(capsys, 'plot', SCALARS)


def test_cut_file_is_read_with_a_note(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / 'a.json'
    path.write_text('{"iter": 1, "time": 1}\n{"iter": 2, "time": 3}\n{"iter": 3, "ti')
    assert main(['times', str(path)]) == 0
    out, err = capsys.readouterr()
    assert out.endswith('average iter time: 3.0000 s/iter\n')
    assert err == f'ringmeter: note: {path}:3: expected a JSON object, got \'{{"iter": 3, "ti\': left out\n'


def test_damaged_lines_are_left_out_with_one_note(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, figures: list[Any]
) -> None:
    path = tmp_path / 'a.json'
    record = '{"iter": 1, "time": 2}\n'
    path.write_text(f'{{"iter": 1, "ti{record}{record}{{"iter": 2, "\n{record}')
    note = f'note: {path}:1: expected a JSON object, got \'{{"iter": 1, "ti{{"iter": 1, "time": 2}}\': left out, as well as line 3\n'
    for arguments in (['times'], ['plot', '--out', str(tmp_path / 'a.png')], ['tail', '--once']):
        assert main([arguments[0], str(path), *arguments[1:]]) == 0
        assert capsys.readouterr().err == f'ringmeter: {note}'
    command = [sys.executable, '-m', 'ringmeter', 'tail', str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        wait_for(process, note)
        process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'the following arguments are required: COMMAND'),
        (['plot'], 'the following arguments are required: FILE'),
        (['plot', SCALARS, '--x', 'day'], "invalid choice: 'day'"),
        (['plot', SCALARS, '--smooth', '1.5'], 'must be from 0 to below 1, or a whole number from 2'),
        (['plot', SCALARS, '--smooth', 'much'], "invalid number value: 'much'"),
        (['tail', SCALARS, '--interval', '0'], 'must be from 0.05 to 3600 seconds'),
    ],
)
def test_wrong_usage_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_many_files_without_compare_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['plot', *[SCALARS] * 5]) == 2
    assert 'more than 4 files need --compare' in capsys.readouterr().err


def test_command_is_installed_and_imports_no_framework() -> None:
    code = (
        'import sys; from ringmeter.cli import main; main(sys.argv[1:])\n'
        'print([name for name in ("torch", "matplotlib", "mmengine") if name in sys.modules])'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, 'times', SCALARS], check=True, capture_output=True, text=True
    )
    assert done.stdout.endswith('\n[]\n')
    command = Path(sys.executable).with_name('ringmeter')
    if command.exists():
        shown = subprocess.run([command, '--version'], check=True, capture_output=True, text=True)
        assert shown.stdout.startswith('0.')
    shown = subprocess.run(
        f'"{sys.executable}" -m ringmeter times {SCALARS} | head -c 1', shell=True, check=True, capture_output=True, text=True
    )  # fmt: skip
    assert (shown.stdout, shown.stderr) == ('-', '')
