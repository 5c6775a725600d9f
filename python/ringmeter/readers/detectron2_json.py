"""detectron2's ``metrics.json``, also that of :class:`ringmeter.compat.JSONWriter`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ._axes import axes_of_train
from ._columns import Records
from ._json_table import Kinds
from ._run import Run, Series
from .json_lines import JsonLinesReader, as_position


class Detectron2JsonReader(JsonLinesReader):
    """One JSON object for each ``iteration``, counted from 0. There are no epochs.

    Results of an evaluation are among the records of training, with a ``/``: ``bbox/AP``. So are values of
    training, as ``fast_rcnn/cls_accuracy``, but in most of the records.
    """

    format = 'metrics.json'
    position = ('iteration',)

    def _append(self, record: dict[str, Any]) -> None:
        iteration = as_position(record['iteration'])
        items = [item for item in record.items() if item[0] != 'iteration']
        self.columns.append('train', items, iteration)

    def _group(self, kinds: Kinds) -> str | None:
        return 'iteration' if kinds.get('iteration', False) else None

    def _append_records(self, records: Records, group: str) -> None:
        self.columns.append_records('train', records, group)

    def run(self) -> Run:
        axes = axes_of_train(self.columns, shift=1.0)
        series = [self._with_mode(one) for one in self.columns.series(axes)]
        return Run(self.path, self.format, series, notes=self._objects.notes())

    def _with_mode(self, series: Series) -> Series:
        is_result = '/' in series.name and 2 * len(series.values) <= len(self.columns)
        return replace(series, mode='val') if is_result and series.mode == 'train' else series
