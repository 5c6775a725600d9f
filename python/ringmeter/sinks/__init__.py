"""Where the records of lines go: files, TensorBoard, Weights & Biases, MLflow, or an object of your own."""

from __future__ import annotations

from ._csv import CSV
from ._json_lines import JSONLines, read_json_lines
from ._mlflow import MLflow
from ._sink import Sink
from ._tensorboard import TensorBoard
from ._wandb import WandB

__all__ = ['CSV', 'JSONLines', 'MLflow', 'Sink', 'TensorBoard', 'WandB', 'read_json_lines']
