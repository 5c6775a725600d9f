"""detectron2's ``metrics.json``, also that of :class:`ringmeter.compat.JSONWriter`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from ._axes import axes_of_train
from ._run import Numbers, Run
from .json_lines import JsonLinesReader, as_position


class Detectron2JsonReader(JsonLinesReader):
    """One JSON object for each ``iteration``, counted from 0. There are no epochs.

    Results of an evaluation are among the records of training, and have a ``/``: ``bbox/AP``.
    """

    format = 'metrics.json'
    position = ('iteration',)

    def _append(self, record: dict[str, Any]) -> None:
        iteration = as_position(record['iteration'])
        items = [item for item in record.items() if item[0] != 'iteration']
        train = [item for item in items if '/' not in item[0]]
        self.columns.append('train', train, iteration)
        if len(train) < len(items):
            self.columns.append('val', [item for item in items if '/' in item[0]], iteration)

    def _is_plain(self, names: Collection[str]) -> bool:
        return 'iteration' in names and '/' not in ''.join(names)

    def _append_table(self, names: list[str], table: Numbers) -> None:
        where = names.index('iteration')
        others = [name for name in names if name != 'iteration']
        self.columns.append_table('train', others, np.delete(table, where, axis=1), table[:, where])

    def run(self) -> Run:
        axes = axes_of_train(self.columns, shift=1.0)
        return Run(self.path, self.format, self.columns.series(axes), notes=self._objects.notes())
