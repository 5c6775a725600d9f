"""The arguments of the commands, and what their failures come to."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from ringmeter.readers import LogFileError

from . import plot, tail, times
from ._errors import CommandError, UsageError

_DESCRIPTION = """Shows log files of training runs: scalars.json and text logs of ringmeter and mmengine,
metrics.json of detectron2, trainer_state.json of transformers, metrics.csv of Lightning."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit code: 0, 1 for a failure, 2 for wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = options.run
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == 'strict':
        sys.stdout.reconfigure(errors='replace')  # names of files, and plots, where it is not UTF-8
    try:
        run(options)
        print(end='', flush=True)
    except UsageError as error:
        options.parser.print_usage(sys.stderr)
        print(f'ringmeter: error: {error}', file=sys.stderr)
        return 2
    except (LogFileError, CommandError) as error:
        print(f'ringmeter: error: {error}', file=sys.stderr)
        return 1
    except OSError as error:  # of standard output: what is read and drawn has errors of its own
        if not isinstance(error, BrokenPipeError):  # nobody reads on, as with `| head`
            where = error.filename or 'standard output'
            print(f'ringmeter: error: {where}: {error.strerror}', file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    from ringmeter import __version__

    parser = argparse.ArgumentParser('ringmeter', description=_DESCRIPTION)
    parser.add_argument('--version', action='version', version=__version__)
    commands = parser.add_subparsers(title='commands', required=True, metavar='COMMAND')
    for module in (plot, times, tail):
        name = module.__name__.rpartition('.')[2]
        command = commands.add_parser(name, help=module.HELP, description=module.DESCRIPTION)
        module.add_arguments(command)
        command.set_defaults(run=module.run, parser=command)
    return parser
