"""The hub through which the parts of a training program exchange scalars and other information."""

from __future__ import annotations

import copy
import logging
from typing import Any, ClassVar

from . import _core
from ._errors import ArgumentError, ArgumentTypeError
from ._handles import new_handle
from ._state import NotPlainError, from_plain, pack_history, to_plain, unpack_history
from .history_buffer import HistoryBuffer
from .manager import ManagerMixin

_logger = logging.getLogger('ringmeter')


class MessageHub(_core.Hub, ManagerMixin):
    """Histories of scalars by name, and the latest value of anything else.

    ``update_scalar(key, value, count=1, resumed=True)`` and ``update_scalars(log_dict, resumed=True)``
    record numbers, numpy scalars, tensors of one element and whatever has ``.item()`` or DLPack; the values
    of a dict are all checked before the first is recorded. ``update_info(key, value, resumed=True)`` replaces
    the information under a key. ``resumed`` must be the same for a key each time. ``log_scalars`` and
    ``runtime_info`` are the dicts that hold it all.

    Args:
        name: Name of the instance.
        log_scalars: Histories to begin with.
        runtime_info: Information to begin with.
        resumed_keys: For keys of either, whether :meth:`state_dict` saves them.

    Raises:
        ArgumentTypeError: One of them is not a dict, or a value of ``log_scalars`` is not a
            :class:`HistoryBuffer`.
        ArgumentError: A key of ``resumed_keys`` is in neither.

    Examples:
        >>> hub = MessageHub('docs')
        >>> hub.update_scalar('train/loss', 0.5)
        >>> hub.update_scalars(dict(lr=0.1, acc=dict(value=30, count=40)))
        >>> float(hub.get_scalar('acc').mean())
        0.75
    """

    _history_class: ClassVar[type[HistoryBuffer]] = HistoryBuffer  # of the histories that it makes

    def __init__(
        self,
        name: str,
        log_scalars: dict[str, HistoryBuffer] | None = None,
        runtime_info: dict[str, Any] | None = None,
        resumed_keys: dict[str, bool] | None = None,
    ) -> None:
        ManagerMixin.__init__(self, name)
        self._handle = new_handle(self)
        self._log_scalars = _as_dict('log_scalars', log_scalars)
        self._runtime_info = _as_dict('runtime_info', runtime_info)
        self._resumed_keys = _as_dict('resumed_keys', resumed_keys)
        for key, buffer in self._log_scalars.items():
            if not isinstance(buffer, HistoryBuffer | self._history_class):
                raise ArgumentTypeError(f'log_scalars[{key!r}] must be a HistoryBuffer, got {buffer!r}')
        for key in self._resumed_keys:
            if key not in self._log_scalars and key not in self._runtime_info:
                raise ArgumentError(f'resumed_keys[{key!r}] must be a key of log_scalars or runtime_info')

    @classmethod
    def get_current_instance(cls) -> MessageHub:
        """Return the hub that was made last; one named ``'mmengine'`` if none was."""
        if not cls._instance_dict:
            cls.get_instance('mmengine')
        return super().get_current_instance()

    def get_scalar(self, key: str) -> HistoryBuffer:
        """Return the history recorded under ``key``: the live one, no copy.

        Raises:
            KeyError: Nothing was recorded under that key. Names keys that are spelled alike.
        """
        buffer: HistoryBuffer | None = self._log_scalars.get(key)
        if buffer is None:
            import difflib  # only on the way to an error

            close = [known for known in self._log_scalars if known.endswith(f'/{key}')]
            close = close or difflib.get_close_matches(str(key), list(self._log_scalars))
            hint = f', did you mean {" or ".join(map(repr, close))}?' if close else ''
            raise KeyError(f'{key!r} is not found in MessageHub {self.instance_name!r}{hint}')
        return buffer

    def get_info(self, key: str, default: Any = None) -> Any:
        """Return the information under ``key``, or ``default``."""
        return self._runtime_info.get(key, default)

    def update_info_dict(self, info_dict: dict[str, Any], resumed: bool = True) -> None:
        """Replace the information under each key of ``info_dict``."""
        if not isinstance(info_dict, dict):
            raise ArgumentTypeError(f'info_dict must be a dict, got {info_dict!r}')
        for key in info_dict:
            if not isinstance(key, str):
                raise ArgumentTypeError(f'key must be a str, got {key!r}')
            before = self._resumed_keys.get(key, resumed)
            if before != resumed:
                raise ArgumentError(
                    f'info {key!r}: resumed must stay what it was, {bool(before)}, got {bool(resumed)}'
                )
        for key, value in info_dict.items():
            self.update_info(key, value, resumed)

    def pop_info(self, key: str, default: Any = None) -> Any:
        """Remove the information under ``key`` and return it, or ``default``."""
        return self._runtime_info.pop(key, default)

    def state_dict(self) -> dict[str, Any]:
        """Return everything recorded with ``resumed=True`` as plain data.

        Containers, numbers, strings, and torch tensors (bytes where torch is not loaded): ``torch.save`` and
        ``torch.load(weights_only=True)``, and ``pickle``, take it as it is. Information that has no such form
        is left out, with a warning.
        """
        scalars = {
            key: pack_history(buffer)
            for key, buffer in self._log_scalars.items()
            if self._resumed_keys.get(key, False)
        }
        infos = {}
        for key, value in self._runtime_info.items():
            if self._resumed_keys.get(key, False):
                try:
                    infos[key] = to_plain(value)
                except (NotPlainError, RecursionError) as error:
                    _logger.warning('info %r is left out of state_dict(): %s', key, error)
        return {
            'log_scalars': scalars,
            'runtime_info': infos,
            'resumed_keys': dict.fromkeys([*scalars, *infos], True),
        }

    def load_state_dict(self, state_dict: dict[str, Any] | MessageHub) -> None:
        """Add what a :meth:`state_dict` or another hub holds; keys already here are replaced.

        Histories may also be given as :class:`HistoryBuffer` or mmengine's own. Anything else among them is
        passed over with a warning.

        Raises:
            ArgumentError: A part is missing or damaged. Nothing has changed then.
            ArgumentTypeError: ``state_dict`` is neither.
        """
        if isinstance(state_dict, dict):
            self._load_dict(state_dict)
            return
        names = ('_log_scalars', '_runtime_info', '_resumed_keys')
        if not all(isinstance(getattr(state_dict, name, None), dict) for name in names):
            raise ArgumentTypeError(f'state_dict must be a dict or a MessageHub, got {state_dict!r}')
        # All of another hub, mmengine's too: old checkpoints hold one.
        scalars, infos, resumed_keys = (copy.deepcopy(dict(getattr(state_dict, name))) for name in names)
        self._log_scalars = self._as_buffers(scalars)
        self._runtime_info, self._resumed_keys = infos, resumed_keys

    def _load_dict(self, state_dict: dict[str, Any]) -> None:
        for part in ('log_scalars', 'runtime_info', 'resumed_keys'):
            if part not in state_dict:
                raise ArgumentError(f'state_dict must have the key {part!r}, got {sorted(state_dict)}')
            if not isinstance(state_dict[part], dict):
                raise ArgumentError(f'state_dict[{part!r}] must be a dict, got {state_dict[part]!r}')
            for key in state_dict[part]:
                if not isinstance(key, str):
                    raise ArgumentError(f'state_dict[{part!r}] must have keys of type str, got {key!r}')
        buffers = self._as_buffers(state_dict['log_scalars'])
        infos = {key: _as_info(key, value) for key, value in state_dict['runtime_info'].items()}

        self._log_scalars.update(buffers)
        self._runtime_info.update(infos)
        resumed_keys = copy.copy(self._resumed_keys)
        for key, resumed in state_dict['resumed_keys'].items():
            if key in self._log_scalars or key in self._runtime_info:
                resumed_keys[key] = resumed
            else:
                _logger.warning('resumed key %r has no value in state_dict: it is not resumed', key)
        self._resumed_keys = resumed_keys  # another dict, for the core to forget what it saw in the old one

    def _as_buffers(self, scalars: dict[str, Any]) -> dict[str, HistoryBuffer]:
        buffers = {}
        for key, value in scalars.items():
            buffer = self._as_buffer(key, value)
            if buffer is None:
                _logger.warning('%r in state_dict is not a history: it is not resumed', key)
            else:
                buffers[key] = buffer
        return buffers

    def _as_buffer(self, key: str, value: Any) -> HistoryBuffer | None:
        if isinstance(value, HistoryBuffer):
            return value
        buffer = self._history_class()
        if isinstance(value, dict):
            unpack_history(buffer, key, value)
            return buffer
        if hasattr(value, '_log_history') and hasattr(value, '_count_history'):  # mmengine's own
            buffer._fill(value._log_history, value._count_history, value.max_length, key)
            return buffer
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return _new, (type(self),), self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        dicts = ('_log_scalars', '_runtime_info', '_resumed_keys')
        state = self.__dict__ | {name: getattr(self, name) for name in dicts}
        del state['_handle']  # a copy is another hub
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._handle = new_handle(self)
        for name, value in state.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.instance_name!r}, {len(self._log_scalars)} scalars)'


def _new(cls: type[MessageHub]) -> MessageHub:
    return cls.__new__(cls)


def _as_dict(name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ArgumentTypeError(f'{name} must be a dict or None, got {value!r}')
    return dict(value)


def _as_info(key: str, value: Any) -> Any:
    try:
        value = copy.deepcopy(value)
    except Exception:
        _logger.warning('%r in state_dict cannot be copied: the hub refers to the same object', key)
    try:
        return from_plain(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArgumentError(f'state_dict: info {key!r} is damaged: {error!r}') from error


_core.set_hub_class(MessageHub)
