"""Finding the lines of a training step that wait for the device."""

from __future__ import annotations

import contextlib
import linecache
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from . import _core
from ._errors import SyncError

_TORCH_SAYS = 'called a synchronizing '  # 'CUDA operation', or HIP
# What waits and does not look at torch's sync debug mode: its public name, and where it is. That is below the
# public functions, since those may have been imported by name, and since torch.compile looks at them.
_WAITS = (
    ('torch.cuda.synchronize', '_C', '_cuda_synchronize'),
    ('torch.accelerator.synchronize', '_C', '_accelerator_synchronizeDevice'),
    ('torch.cuda.Stream.synchronize', 'cuda.Stream', 'synchronize'),
    ('torch.cuda.Event.synchronize', 'cuda.Event', 'synchronize'),
)
_NOT_THE_USERS = {'torch', 'ringmeter', ''} | sys.stdlib_module_names

_lock = threading.Lock()
_depth = 0  # of blocks that run
_undo = contextlib.ExitStack()  # what the first of them changed


@contextlib.contextmanager
def no_sync() -> Iterator[None]:
    """Raise an error that names the line if the code inside waits for a device.

    For tests, around a step that has run before: what compiles, tunes or captures waits the first time. Also
    a decorator. Inside, in all threads, these are errors: what torch's sync debug mode knows (``.item()``,
    ``.cpu()``, ``nonzero()``, ``if tensor:``, copies that block), ``synchronize()`` of ``torch.cuda``,
    ``torch.accelerator``, streams and events, and reading a history whose values have not landed, which
    ``landed=True`` avoids. Not seen are waits of ``torch.distributed``, ``torch.sparse``, ``torch.Event``,
    ``torch.Stream``, the memory allocator and other libraries, and those whose error the code itself catches.

    It works with CUDA and ROCm. Where torch has no such device it warns that it cannot tell, and the code
    just runs. Blocks may be nested. A wait inside of backward is named by the line that called
    ``backward()``; ``torch.autograd.set_detect_anomaly(True, check_nan=False)`` tells more.

    Raises:
        SyncError: The code waited. The line is the innermost that is not of torch, ringmeter or Python's own
            library, and the original error is the cause.

    Examples:
        >>> def test_step():
        ...     step(batch)
        ...     with rm.no_sync():
        ...         step(batch)
    """
    problem = _enter()
    if problem:
        message = f'no_sync() cannot tell whether the code waits: {problem}'
        warnings.warn(message, RuntimeWarning, stacklevel=3)
        yield
        return
    try:
        yield
    except Exception as error:
        named = _with_line(error)
        if named is None:
            raise
        raise named from error
    finally:
        _leave()


def cannot_tell() -> str:
    """Return why :func:`no_sync` cannot tell here; '' where it can."""
    torch: Any = sys.modules.get('torch')
    if torch is None:
        return 'torch has not been imported'
    if not torch.cuda.is_available():
        return 'torch finds no CUDA or ROCm device, and others do not say when they are waited for'
    try:
        torch.cuda.get_sync_debug_mode()
    except RuntimeError as error:  # forked after CUDA was in use
        return str(error)
    return ''


def _enter() -> str:
    """Make waits errors, unless they are; or return why that is not possible."""
    global _depth, _undo  # noqa: PLW0603
    with _lock:
        if _depth == 0:
            problem = cannot_tell()
            if problem:
                return problem
            _undo = _forbid_waits(sys.modules['torch'])
        _depth += 1
    return ''


def _leave() -> None:
    global _depth  # noqa: PLW0603
    with _lock:
        _depth -= 1
        if _depth == 0:
            _undo.close()


def _forbid_waits(torch: Any) -> contextlib.ExitStack:
    with contextlib.ExitStack() as undo:
        undo.callback(torch.cuda.set_sync_debug_mode, torch.cuda.get_sync_debug_mode())
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # it says, once, that it is a prototype
            torch.cuda.set_sync_debug_mode('error')
        for public, path, name in _WAITS:
            owner = torch
            for part in path.split('.'):
                owner = getattr(owner, part, None)
            if hasattr(owner, name):
                undo.enter_context(_raising(owner, name, public))
        undo.callback(_core.set_waits_allowed, _core.waits_are_allowed())
        _core.set_waits_allowed(False)
        return undo.pop_all()


@contextlib.contextmanager
def _raising(owner: Any, name: str, public: str) -> Iterator[None]:
    """Put something that raises in the place of a function of a module or class."""

    def wait(*_: Any, **__: Any) -> NoReturn:
        raise SyncError(f'{public}() must not be called')

    own = vars(owner).get(name)  # None: inherited
    setattr(owner, name, wait)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


def _with_line(error: Exception) -> SyncError | None:
    """Return the error that names the line; None if it is about something else, or names one already."""
    chain: list[BaseException] = [error]
    while not _is_about_waiting(chain[-1]):
        cause = chain[-1].__cause__
        if cause is None:
            return None
        chain.append(cause)
    if isinstance(chain[-1], SyncError) and chain[-1].lineno is not None:
        return None
    frames = [place for each in chain for place in traceback.walk_tb(each.__traceback__)]
    frame, lineno = next((place for place in reversed(frames) if _is_the_users(place[0])), frames[-1])
    filename = frame.f_code.co_filename
    source = linecache.getline(filename, lineno, frame.f_globals).strip()
    named = SyncError(
        f'the step must not wait for the device, but {filename}:{lineno} does: {source} ({chain[-1]})'
    )
    named.filename, named.lineno = filename, lineno
    return named


def _is_about_waiting(error: BaseException) -> bool:
    return isinstance(error, SyncError) or (isinstance(error, RuntimeError) and _TORCH_SAYS in str(error))


def _is_the_users(frame: FrameType) -> bool:
    # By module: code that torch generates has files elsewhere.
    return frame.f_globals.get('__name__', '').partition('.')[0] not in _NOT_THE_USERS
