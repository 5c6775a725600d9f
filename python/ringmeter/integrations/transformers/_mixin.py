"""What Hugging Face's Trainer has to add so that its losses are recorded."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.trainer_utils import has_length

from ._callback import RingmeterCallback

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


class RingmeterMixin(_Trainer):
    """Makes a trainer record the loss and the gradient norm of every step, without waiting for a device.

    In front of a ``Trainer``, or a class made from it::

        class MyTrainer(RingmeterMixin, Trainer):
            pass

        trainer = MyTrainer(model, args, train_dataset=..., callbacks=[RingmeterCallback(interval=50)])

    Without a :class:`RingmeterCallback` among its callbacks it adds one. The loss of a step is the one that
    Trainer logs: micro-batches of ``gradient_accumulation_steps`` add up to one value. Of several processes,
    each records its own. Evaluations have times.
    """

    _ringmeter: RingmeterCallback | None = None
    _ringmeter_mode = 'val'

    @property
    def ringmeter(self) -> RingmeterCallback:
        """The callback; ``trainer.ringmeter.meter.message_hub`` has the histories."""
        if self._ringmeter is None:
            callbacks = self.callback_handler.callbacks
            self._ringmeter = next((each for each in callbacks if isinstance(each, RingmeterCallback)), None)
        if self._ringmeter is None:
            self._ringmeter = RingmeterCallback()
            self.add_callback(self._ringmeter)
        return self._ringmeter

    def create_accelerator_and_postprocess(self) -> None:
        """See to it that what the accelerator clips gradients by is recorded."""
        super().create_accelerator_and_postprocess()
        clip = self.accelerator.clip_grad_norm_

        @wraps(clip)
        def clip_and_record(*args: Any, **kwargs: Any) -> Any:
            norm = clip(*args, **kwargs)
            if norm is not None:
                self.ringmeter.measure('grad_norm', norm)
            return norm

        self.accelerator.clip_grad_norm_ = clip_and_record

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train, and remember where from, for the histories that are there."""
        given = None if isinstance(resume_from_checkpoint, bool) else resume_from_checkpoint
        self.ringmeter.resume_folder = None if given is None else Path(given)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Run a micro-batch, and record its loss."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.ringmeter.measure('loss', loss, adds_up=True)
        return loss

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """Run a batch of an evaluation, and record its times."""
        loader = self.callback_handler.eval_dataloader
        size = len(loader) if has_length(loader) else None
        self.ringmeter.begin_prediction(self.args, self.state, self._ringmeter_mode, size)
        return super().prediction_step(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict: a test, no validation."""
        self._ringmeter_mode = 'test'
        try:
            return super().predict(*args, **kwargs)
        finally:
            self._ringmeter_mode = 'val'
