"""LocalVisBackend's files of records."""

from __future__ import annotations

import json
import os
from typing import Any

from mmengine.fileio.handlers.json_handler import set_default
from mmengine.visualization.vis_backend import LocalVisBackend, force_init_env

from ringmeter import ArgumentError, ArgumentTypeError

from ..._core import format_record
from ...sinks._text_file import append_text

_encode = json.JSONEncoder(default=set_default).encode
_dump_of_stock = LocalVisBackend._dump
_add_scalars_of_stock = LocalVisBackend.add_scalars


@force_init_env  # type: ignore[untyped-decorator]
def add_record(
    self: Any, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **options: Any
) -> None:
    """Append a record to the file of all scalars, and to another: made into text once, written at once."""
    if type(self)._dump is not _dump_of_stock:
        _add_scalars_of_stock(self, scalar_dict, step, file_path, **options)
        return
    if not isinstance(scalar_dict, dict):
        raise ArgumentTypeError(f'scalar_dict must be a dict, got {scalar_dict!r}')
    paths = [self._scalar_save_file]
    if file_path is not None:
        paths.insert(0, os.path.join(self._save_dir, file_path))  # noqa: PTH118
        if not file_path.endswith('.json') or paths[0] == paths[1]:
            raise ArgumentError(
                f'file_path must end with .json, and not be that of all scalars, got {file_path!r}'
            )
    record = {**scalar_dict, 'step': scalar_dict.get('step', step)}
    text = format_record(record) or _encode(record)
    for path in paths:
        append_text(path, f'{text}\n')
