"""Passes over a loader, told of what happens by who owns the loop: LoopLogger's generators, or a trainer.

A trainer that calls back makes one where a loop begins, and hands it what follows::

    running = TrainPass(meter, Loop('train', number_of_iterations))
    running.begin_batch()  # its batch is there
    running.record({'train/loss': loss})  # or meter.log(loss=loss)
    running.end_batch()
    running.end()  # close() where the loop stops in the middle
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ._errors import ArgumentError
from ._landing import settled_positions
from ._loop import EpochHub, Loop, View
from ._losses import Keys
from ._micro_batches import MicroBatches
from ._ranks import Line
from ._timing import LoopTimer

if TYPE_CHECKING:
    from .loop_logger import LoopLogger


class Pass:
    """One pass over a loader: the innermost one of a meter from here on, until it ends or is closed.

    An iteration has one batch, or several micro-batches. Then ``accumulates`` is to be set, and what they
    record becomes one value for each key, their mean.

    Args:
        meter: What writes its lines.
        loop: What it is a pass of.
        done: Iterations of it that are behind it already, in a run that goes on.
    """

    def __init__(self, meter: LoopLogger, loop: Loop, done: int = 0) -> None:
        self.mode = loop.mode
        self.keys = Keys(loop.mode)  # of the names that meter.log() gets
        self.accumulates = False
        self.has_loss = False  # it is told the loss: meter.log() adds no sum of others
        self.is_open = False  # an iteration
        self.loop = loop
        self.done = done
        self._meter = meter
        self._micro_batches = MicroBatches()
        self._infos = meter.message_hub.runtime_info
        meter._enter(self)
        self._outer = meter._running[-2] if len(meter._running) > 1 else None
        if self._outer is not None:
            self._outer.pause()
        self._timer = LoopTimer(meter.message_hub, loop.mode, meter._has_idle_time)

    def begin_batch(self) -> None:
        """A batch is there. The first of an iteration begins it."""
        self._timer.begin_batch(is_first=not self.is_open)
        if not self.is_open:
            self.is_open = True
            self._begin_iteration()

    def record(self, scalars: dict[str, Any]) -> None:
        """Record scalars of the running batch, by their keys in the hub.

        Raises:
            ScalarError: One is not one real number. Nothing was recorded.
        """
        if self.is_open and (self.accumulates or self._micro_batches):
            self._micro_batches.add(scalars)
        else:
            self._timer.record(scalars)

    def end_batch(self, ends_iteration: bool = True, step: int | None = None) -> bool:
        """A batch has been worked on. Return whether the loop goes on, as far as the meter knows.

        Args:
            ends_iteration: False when the iteration has further micro-batches.
            step: What the trainer calls this iteration, if it counts other than the meter.

        Raises:
            NanError: With ``on_nan='raise'``.
            RuntimeError: This pass is no longer running.
        """
        running = self._meter._running
        if self not in running:
            raise RuntimeError(f'{self.mode}() must not go on after another loop took its place')
        if running[-1] is not self:  # one inside of it was left, and not closed
            del running[running.index(self) + 1 :]
            self._timer.resume()
        if not ends_iteration:
            self._timer.end_batch()
            return True
        if self._micro_batches:
            self._timer.record(self._micro_batches.take())
        goes_on = self._end_iteration(self._timer.end_iteration(), step)
        self.is_open = False
        self.done += 1
        if self._meter._lines is not None:
            self._meter._lines.write_landed()
        if self._meter._progress is not None:
            self._meter._progress.update(self)
        return goes_on

    def close(self) -> None:
        """It stops here. The pass around it goes on."""
        if self.done:
            self._timer.note_clock()
        if self in self._meter._running:
            self._meter._running.remove(self)
            self._meter._show_progress()
            if self._outer is not None:
                self._outer.resume()

    def pause(self) -> None:
        """Another pass begins inside of it."""
        self._timer.pause()

    def resume(self) -> None:
        self._timer.resume()

    def _set_infos(self, has_eta: bool, **infos: Any) -> None:
        self._infos.pop('eta', None)
        self._meter.message_hub.update_info_dict({**infos, 'eta': 0.0} if has_eta else infos)

    def _begin_iteration(self) -> None:
        pass

    def _end_iteration(self, seconds: float, step: int | None) -> bool:
        raise NotImplementedError


class TrainPass(Pass):
    """One epoch of training."""

    def __init__(self, meter: LoopLogger, loop: Loop, done: int = 0) -> None:
        super().__init__(meter, loop, done)
        meter.train_loop, meter._epoch_begin = loop, meter.iter
        self._set_infos(
            meter.max_iters is not None,
            epoch=meter.epoch,
            iter=meter.iter,
            max_epochs=meter.max_epochs,
            max_iters=meter.max_iters,
        )

    def end(self, waits: bool = True) -> None:
        """All of its batches were there: count the epoch, and write its lines if this may wait for them."""
        self.close()
        if waits:
            self._meter.flush()
        self._meter.epoch += 1

    def drop_iteration(self) -> None:
        """The iteration that runs, if one does, will not end: forget that it began."""
        if self.is_open:
            self.is_open = False
            self._meter._rates.take_back(self._meter.message_hub)

    def leave(self) -> None:
        """It is left in an iteration, which counts once the run goes on."""
        self._meter._has_left |= self in self._meter._running
        self.close()

    def _begin_iteration(self) -> None:
        self._infos['iter'] = self._meter.iter
        self._meter._rates.record(self._meter.message_hub)

    def _end_iteration(self, seconds: float, step: int | None) -> bool:
        meter = self._meter
        meter._seconds += seconds
        meter._timed += 1
        if meter.max_iters is not None:
            self._infos['eta'] = meter._seconds / meter._timed * max(0, meter.max_iters - meter.iter - 1)
        else:
            self._infos.pop('eta', None)  # that of an evaluation inside of the epoch
        meter._look_for_nans('train', meter.iter + 1)
        if self._is_due():
            meter._write_line(meter, self.done, 'train', meter.iter + 1 if step is None else step)
        meter.iter += 1
        return meter.max_epochs is not None or meter.max_iters is None or meter.iter < meter.max_iters

    def _is_due(self) -> bool:
        interval, done, size = self._meter.interval, self.done + 1, self.loop.size
        if not self._meter.log_processor.by_epoch:
            return (self._meter.iter + 1) % interval == 0
        # As mmengine's LoggerHook: an epoch with no other line has one at its end.
        return done % interval == 0 or (done == size and size <= interval)


class EvaluationPass(Pass):
    """A validation or test, on its own or inside of training.

    Args:
        meter: As for :class:`Pass`.
        loop: Likewise.
        step: What the trainer calls the training iteration after which it runs, if it counts other than the
            meter.
    """

    def __init__(self, meter: LoopLogger, loop: Loop, step: int | None = None) -> None:
        self._starts = settled_positions(meter.message_hub)
        super().__init__(meter, loop)
        setattr(meter, f'{self.mode}_loop', loop)
        # Inside of training: of the epoch and the iteration that it is in.
        self._runner = View(meter, epoch=meter.epoch + (self._outer is not None))
        self._iter = meter.iter + (self._outer is not None and self._outer.is_open)
        self._step = self._iter if step is None else step
        self._seconds = 0.0
        self._set_infos(loop.size is not None)

    def end(self, waits: bool = True) -> None:
        """All of its batches were there: write its line, or put it off until its values have landed.

        The latter is for meters of trainers, whose lines are of this rank alone.
        """
        meter = self._meter
        self.close()
        if waits:
            meter._settle()
        if not meter._makes_lines():
            return
        self.loop.size = self.done
        ends = settled_positions(meter.message_hub)
        hub = EpochHub(meter.message_hub, self.mode, self._starts, ends)
        runner = View(
            self._runner, **{'message_hub': hub, 'iter': meter.iter, f'{self.mode}_loop': self.loop}
        )
        processor = meter.log_processor
        arguments = (runner, self.done - 1, self.mode, self.mode == 'test')
        if waits or meter._lines is None:
            self._write(runner, None, *processor.get_log_after_epoch(*arguments))
            meter._writer.sinks.flush()
            return
        make = partial(processor.get_log_after_epoch, *arguments)
        meter._lines._put_off(Line(self.mode, 0), make, partial(self._write, runner, time.time()))
        meter._lines.write_landed()

    def _write(self, runner: Any, created: float | None, tag: dict[str, Any], line: str) -> None:
        if self._meter.log_processor.by_epoch:
            tag.setdefault('step', runner.epoch)  # in the file, as mmengine has it
        if not self._meter._is_silent:
            self._meter._writer.write(tag, line, self.mode, self._step, created)

    def leave(self) -> None:
        """It is left in an iteration, which has no line."""
        self.close()

    def _end_iteration(self, seconds: float, step: int | None) -> bool:  # noqa: ARG002
        self._seconds += seconds
        done, size = self.done + 1, self.loop.size
        if size is not None:
            self._infos['eta'] = self._seconds / done * max(0, size - done)
        self._meter._look_for_nans(self.mode, self._iter)
        if done % self._meter.interval == 0:
            self._meter._write_line(self._runner, self.done, self.mode)
        return True


class TrialPass(Pass):
    """One that leaves nothing behind, such as a trainer's sanity check: its end takes the hub back."""

    def __init__(self, meter: LoopLogger, loop: Loop) -> None:
        hub = meter.message_hub
        self._histories = {
            key: (buffer, buffer.position)
            for key, buffer in hub.log_scalars.items()
            if hasattr(buffer, 'position')
        }
        self._infos_before = dict(hub.runtime_info)
        super().__init__(meter, loop)

    def begin_batch(self) -> None:
        pass

    def record(self, scalars: dict[str, Any]) -> None:
        pass

    def end_batch(self, ends_iteration: bool = True, step: int | None = None) -> bool:  # noqa: ARG002
        return True

    def end(self, waits: bool = True) -> None:  # noqa: ARG002
        self.close()

    def close(self) -> None:
        super().close()
        hub = self._meter.message_hub
        for key, buffer in list(hub.log_scalars.items()):
            known, position = self._histories.get(key, (None, 0))
            if known is None:
                del hub.log_scalars[key]
            elif buffer is known and buffer.position != position:
                with suppress(ArgumentError):  # so long a trial that a full history has forgotten what was
                    hub.log_scalars[key] = buffer.as_of(position)
        hub.runtime_info.clear()
        hub.runtime_info.update(self._infos_before)
