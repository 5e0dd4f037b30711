"""What a fit does not go on from, and what becomes of it."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import torch
from test_checkpoint import StopAfter, saved, spoil, stopped_after, train
from torch import nn
from torch.nn import functional as F

from workstation.training import checkpoint
from workstation.training.checkpoint import CheckpointError, Checkpoints
from workstation.training.loop import Fit, Hook, fit
from workstation.training.settings import Settings

CPU = torch.device("cpu")


@pytest.mark.parametrize("damage", ["flipped", "a file"])
def test_a_damaged_checkpoint_is_set_aside_and_takes_no_whole_ones_place(tmp_path: Path, damage: str) -> None:
    """It is newer than what is saved after it. Were it kept for that, there would be one to fall back on, not two."""
    stopped_after(10, tmp_path, CPU)
    later = tmp_path / "train-000009-000009"
    if damage == "a file":
        later.touch()
    else:
        shutil.copytree(saved(tmp_path)[-1], later)
        spoil(later, damage)
    train(CPU, Checkpoints(tmp_path, every_seconds=0))
    assert [path.name for path in saved(tmp_path)] == ["train-000005-000003", "train-000006-000000"]
    assert (tmp_path / ".train-000009-000009.damaged").exists()


def test_where_none_is_whole_none_is_set_aside(tmp_path: Path) -> None:
    """Else the next start would find nothing, and begin anew without a word."""
    stopped_after(10, tmp_path, CPU)
    for path in saved(tmp_path):
        spoil(path, "flipped")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="no checkpoint of train"):
            train(CPU, Checkpoints(tmp_path))


class Watch(Hook):
    """Whether it was ended, and at which step the fit began."""

    ended = False
    began = -1

    def start(self, fit: Fit) -> None:
        self.began = fit.step

    def end(self, fit: Fit) -> None:  # noqa: ARG002
        self.ended = True


def test_a_fit_that_cannot_go_on_leaves_no_hook_and_no_signal_handler_behind(tmp_path: Path) -> None:
    stopped_after(3, tmp_path, CPU)
    for path in saved(tmp_path):
        spoil(path, "flipped")
    earlier, before = Watch(), signal.getsignal(signal.SIGTERM)
    with pytest.raises(CheckpointError):
        train(CPU, earlier, Checkpoints(tmp_path))
    assert earlier.ended
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_millionth_step_of_an_epoch_is_the_newest(tmp_path: Path) -> None:
    stopped_after(11, tmp_path, CPU)
    for path, name in zip(saved(tmp_path), ("train-000003-999999", "train-000003-1000000"), strict=True):
        path.rename(tmp_path / name)
    watch = Watch()
    with pytest.raises(KeyboardInterrupt):
        train(CPU, Checkpoints(tmp_path, every_seconds=0), watch, StopAfter(12))
    assert watch.began == 11


def test_one_fits_checkpoints_are_not_anothers_whose_name_begins_alike(tmp_path: Path) -> None:
    stopped_after(9, tmp_path, CPU)
    others = [path.rename(path.with_name(path.name.replace("train", "train-000001"))) for path in saved(tmp_path)]
    train(CPU, Checkpoints(tmp_path, every_seconds=0))
    assert [path.name for path in saved(tmp_path)[2:]] == ["train-000005-000003", "train-000006-000000"]
    assert saved(tmp_path)[:2] == others


def tune(directory: Path, *, width: int = 3, epochs: int = 2, adam: bool = True, decay: bool = False) -> None:
    model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 1))
    optimizer = (torch.optim.Adam if adam else torch.optim.SGD)(model.parameters(), lr=0.1)
    rows = torch.randn(8, 3)
    fit(
        model,
        [(rows, rows[:, :1])],
        F.mse_loss,
        optimizer,
        epochs=epochs,
        settings=Settings(),
        scheduler=torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9) if decay else None,
        hooks=[Checkpoints(directory)],
    )


def test_a_second_fit_of_one_name_is_not_given_the_firsts_weights(tmp_path: Path) -> None:
    saves = Checkpoints(tmp_path)
    train(CPU, saves)
    with pytest.raises(CheckpointError, match="a fit called train has ended here already"):
        train(CPU, saves)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"width": 4}, "saved with parameters 16, not 21"),
        ({"adam": False}, "saved with optimizer Adam, not SGD"),
        ({"decay": True}, "saved with scheduler none, not ExponentialLR"),
        ({"epochs": 1}, "saved with epochs 2, not 1"),
        ({"epochs": 3}, "saved with epochs 2, not 3"),
    ],
    ids=str,
)
def test_another_fit_is_refused_in_one_line(tmp_path: Path, other: dict[str, int], said: str) -> None:
    tune(tmp_path)
    with pytest.raises(
        CheckpointError, match=rf"train-000002-000000 was {said}\. Go on with what it was saved with"
    ) as refused:
        tune(tmp_path, **other)
    assert "\n" not in str(refused.value)


def test_a_model_of_the_same_size_and_another_form_is_refused_in_one_line(tmp_path: Path) -> None:
    class Turned(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 1)
            self.weight = nn.Parameter(self.weight.detach().T.contiguous())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight + self.bias

    rows = torch.randn(8, 3)
    for model in (nn.Linear(3, 1), Turned()):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        caught = pytest.raises(CheckpointError, match=r"does not fit this model and optimiser: Size mismatch")
        with caught if isinstance(model, Turned) else pytest.MonkeyPatch.context():
            fit(
                model,
                [(rows, rows[:, :1])],
                F.mse_loss,
                optimizer,
                epochs=1,
                settings=Settings(),
                hooks=[Checkpoints(tmp_path)],
            )


def test_one_of_an_older_image_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(checkpoint, "_told", lambda _: None)
        tune(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"saved by an older version of this image\. Start again in a new directory"
    ):
        tune(tmp_path)
