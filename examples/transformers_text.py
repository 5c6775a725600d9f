"""Train a tiny GPT-2 on the characters of Python's own argparse module with Hugging Face's Trainer.

pip install '.[transformers]'
python examples/transformers_text.py
"""

from __future__ import annotations

import argparse
import inspect

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from ringmeter.integrations.transformers import RingmeterCallback, RingmeterMixin


class Text(Dataset[dict[str, Tensor]]):
    """Pieces of a text, as the numbers of its characters."""

    def __init__(self, text: str, length: int = 64) -> None:
        codes = torch.tensor([min(ord(character), 127) for character in text])
        self.pieces = codes[: len(codes) // length * length].view(-1, length)

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {'input_ids': self.pieces[index], 'labels': self.pieces[index]}


class MyTrainer(RingmeterMixin, Trainer):
    """Records the loss of every step, without waiting for the device."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--steps', type=int, default=60, help='length of the run (default: 60)')
    parser.add_argument('--work-dir', default='work_dirs/transformers_text')
    args = parser.parse_args()

    text = inspect.getsource(argparse)
    split = len(text) * 9 // 10
    config = GPT2Config(
        vocab_size=128, n_positions=64, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    trainer = MyTrainer(
        GPT2LMHeadModel(config),
        TrainingArguments(
            output_dir=args.work_dir,
            max_steps=args.steps,
            per_device_train_batch_size=8,
            per_device_eval_batch_size=32,
            gradient_accumulation_steps=2,
            learning_rate=1e-2,
            logging_steps=30,
            logging_nan_inf_filter=False,  # it waits for the device, twice in every micro-batch
            eval_strategy='steps',
            eval_steps=30,
            save_strategy='no',
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=Text(text[:split]),
        eval_dataset=Text(text[split:]),
        callbacks=[RingmeterCallback(interval=10)],
    )
    trainer.train()


if __name__ == '__main__':
    main()
