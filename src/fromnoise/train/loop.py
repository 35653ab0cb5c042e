"""The loop that every stage shares: steps, learning rate, averages, checkpoints, log, pictures on the way."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from math import inf, isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fromnoise.durable import make_folder, require_room
from fromnoise.engine.memory import kept_memory
from fromnoise.errors import NonFiniteError, WeightsError
from fromnoise.train.ema import Ema
from fromnoise.train.lock import only_one_in
from fromnoise.train.log import Log
from fromnoise.train.meter import Meter
from fromnoise.train.recipe import Progress, Recipe, Task
from fromnoise.train.state import (
    DAMAGED,
    LATEST,
    PREVIOUS,
    Found,
    check_learned_with,
    keep,
    newest,
    prefixed,
    under,
    write_checkpoint,
)

TRUNK = "trunk.safetensors"  # the state before the learning rate fell: a longer run goes on from here
APART = 20  # times as long as a save takes passes before the next: no more than a twentieth goes into saving


def fit(task: Task, recipe: Recipe, folder: Path, *, report_every: int = 50) -> Iterator[Progress]:
    """Train until `recipe.steps`, going on from the folder's newest checkpoint.

    It yields after every step, so that whoever iterates can stop after any; stopping saves. An exception in
    the middle of a step saves nothing: what is on the disk is always the state between two steps.

    Raises: NonFiniteError if the numbers leave the finite range; WeightsError for another model's checkpoint;
            StorageError if the disk is too full for checkpoints, or another process trains in the folder
    """
    make_folder(folder)
    with only_one_in(folder):
        yield from _fit(Run(task, recipe, folder), report_every)


def _fit(run: "Run", report_every: int) -> Iterator[Progress]:
    require_room(run.folder, run.room())
    meter, log = Meter(run), Log(run.folder)
    yield log.write(meter.progress({}, run.notes))
    try:
        with kept_memory():
            if run.looks and not log.has(run.step):  # killed while it looked
                yield log.write(meter.progress(run.look()))
            while run.step < run.recipe.steps:
                meter.step()
                if run.looks:
                    run.save_in_time(run.looking)
                seen = run.look() if run.looks else {}
                if run.looks or run.step % report_every == 0:
                    yield log.write(meter.progress(meter.means() | seen))
                else:
                    yield meter.progress({})
                run.save_in_time()
    finally:
        run.save()


class Run:
    """A task with its optimiser and averages, on its way through a recipe."""

    def __init__(self, task: Task, recipe: Recipe, folder: Path) -> None:
        self.task, self.recipe, self.folder = task, recipe, folder
        self.parameters = dict(task.modules.named_parameters())
        self.optimiser = torch.optim.AdamW(
            list(self.groups()),
            lr=recipe.lr,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.ema = Ema(task.modules, recipe.ema) if recipe.ema else None
        self.step = self.saved_step = 0
        self.saved, self.saving = time.monotonic(), 0.0  # when, and how many seconds the last save took
        self.looking = inf  # seconds that the last look took
        self.began = 0  # where the optimiser's moments did: later, if a training goes on without them
        self.between_steps = True  # else the weights, the moments and the averages are of different moments
        self.notes: tuple[str, ...] = ()
        make_folder(folder)
        if found := newest(folder):
            self.resume(found)

    def groups(self) -> Iterator[dict[str, Any]]:
        """The parameters by their share of the learning rate."""
        shares = {name: self.recipe.share(name) for name in self.parameters}
        for share in dict.fromkeys(shares.values()):
            yield {
                "params": [p for name, p in self.parameters.items() if shares[name] == share],
                "share": share,
            }

    def train_step(self) -> dict[str, float]:
        """One batch, one update.  Raises: NonFiniteError, before anything is updated"""
        self.between_steps = False
        if self.step == self.recipe.falls_at:
            write_checkpoint(self.folder / TRUNK, self.tensors(), self.facts())
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.step) * group["share"]
        loss, figures = self.task.loss(self.step)
        value = self._finite("loss", loss)
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.clip)
        self._finite("gradient", norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        if self.ema:
            self.ema.update(self.task.modules, self.step)
        self.between_steps = True
        return {"loss": value, **figures}

    def rate(self, step: int) -> float:
        """The learning rate of a step: the recipe's, warmed up again where moments begin anew."""
        warm = (step - self.began + 1) / self.recipe.warmup if self.began else 1.0
        return self.recipe.rate(step) * min(1.0, warm)

    def _finite(self, what: str, number: Tensor) -> float:
        if not isfinite(value := number.item()):
            left = "nothing was saved yet, so it begins anew"
            if any((self.folder / name).exists() for name in (LATEST, PREVIOUS)):
                left = f"{self.folder} holds the last good state"
            raise NonFiniteError(
                f"the {self.task.name} {what} is {value} at step {self.step}",
                hint=f"lower the learning rate ({self.recipe.lr:g}); {left}",
            )
        return value

    @property
    def pictures(self) -> int:
        """How many the next step learns from: what the task says, else a batch."""
        told: Callable[[int], int] | None = getattr(self.task, "pictures", None)
        return told(self.step) if told else self.recipe.batch

    @property
    def looks(self) -> bool:
        """Whether the task is to judge itself after the last step."""
        return self.step > 0 and (self.step % self.recipe.look_every == 0 or self.step == self.recipe.steps)

    def look(self) -> dict[str, float]:
        """Let the task judge itself with the weights that would be exported."""
        self.between_steps, began = False, time.monotonic()
        with self.averaged(), torch.no_grad():
            self.task.modules.eval()
            figures = self.task.look(self.folder, self.step)
            self.task.modules.train()
        self.between_steps, self.looking = True, time.monotonic() - began
        return figures

    def averaged(self) -> "Borrowed":
        """The averaged weights, for as long as the `with` lasts."""
        return Borrowed(self.parameters, self.ema.averages if self.ema else {})

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resume needs."""
        moments: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            moments |= {f"{name}.{kind}": t for kind, t in self.optimiser.state[parameter].items()}
        tensors = prefixed("model", self.parameters) | prefixed("optimiser", moments)
        return tensors | (prefixed("ema", self.ema.averages) if self.ema else {})

    def size(self) -> int:
        """About how many bytes a checkpoint takes: the weights, two moments, the averages."""
        copies = 4 if self.ema else 3
        return copies * sum(p.numel() * p.element_size() for p in self.parameters.values())

    def room(self) -> int:
        """Bytes that a disk must have free: a save is written beside all that are kept, before one goes."""
        recipe, size = self.recipe, self.size()
        has_trunk_to_come = self.step <= recipe.falls_at < recipe.steps
        kept = [self.folder / name for name in (LATEST, PREVIOUS, *([TRUNK] if has_trunk_to_come else []))]
        there = sum(min(size, path.stat().st_size) for path in kept if path.exists())
        return (len(kept) + 1) * size - there

    @property
    def pause(self) -> float:
        """Seconds from one save to the next: the recipe's, or longer where a save takes long."""
        if not self.recipe.save_every:
            return 0.0
        return max(self.recipe.save_every, APART * self.saving)

    @property
    def told(self) -> Mapping[str, Any]:
        """What the task says of what it learns from, if it says anything."""
        return getattr(self.task, "facts", {})

    def facts(self) -> dict[str, Any]:
        """What a checkpoint says of itself."""
        facts = {"task": self.task.name, "step": self.step, "recipe": asdict(self.recipe), **self.told}
        return facts | ({"began": self.began} if self.began else {})

    def save(self) -> None:
        """Make this moment durable, unless it is already, or lies in the middle of a step."""
        if self.between_steps and self.step != self.saved_step:
            began = time.monotonic()
            keep(self.folder, self.tensors(), self.facts())
            self.saved_step, self.saving = self.step, time.monotonic() - began

    def save_in_time(self, ahead: float = 0.0) -> None:
        """Save if the pause is over, or will be after what takes so many seconds."""
        if time.monotonic() - self.saved + ahead > self.pause:
            self.save()
            self.saved = time.monotonic()

    def resume(self, found: Found) -> None:
        """Take up a checkpoint exactly.  Raises: WeightsError if it is another task's or network's"""
        tensors, facts = found.checkpoint.tensors, found.checkpoint.facts
        self._compare(found)
        check_learned_with(self.folder, facts, self.told)
        self.step = facts["step"]
        if self.told.keys() <= facts.keys():  # else what is told is yet to be noted
            self.saved_step = self.step
        moments = under("optimiser", tensors)
        self.began = facts.get("began", 0 if moments else self.step)
        weights = {name: p.detach() for name, p in self.parameters.items()} | under("model", tensors)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])
        for name, tensor in moments.items():
            of, kind = name.rsplit(".", 1)
            # in the layout of its parameter: the fused optimiser pairs numbers by their place in memory
            like = self.parameters[of] if tensor.shape == self.parameters[of].shape else tensor
            self.optimiser.state[self.parameters[of]][kind] = torch.empty_like(
                like, device=self.parameters[of].device
            ).copy_(tensor)
        if self.ema:
            self.ema.load(under("ema", tensors) or weights)
        self.notes = tuple(self._notes(found))
        if found.damage and found.path.name != LATEST:
            (self.folder / LATEST).replace(self.folder / DAMAGED)  # or it would be kept as the previous one

    def _compare(self, found: Found) -> None:
        task = found.checkpoint.facts.get("task")
        theirs = {n: tuple(t.shape) for n, t in under("model", found.checkpoint.tensors).items()}
        anew: tuple[str, ...] = getattr(self.task, "anew", ())  # parts that a checkpoint may lack
        ours = {
            name: tuple(p.shape)
            for name, p in self.parameters.items()
            if name in theirs or name.partition(".")[0] not in anew
        }
        if task != self.task.name:
            problem = f"holds a training of {task}, not of {self.task.name}"
        elif theirs != ours:
            name = min(n for n in theirs.keys() | ours.keys() if theirs.get(n) != ours.get(n))
            problem = f"holds another {task}: {name} is {theirs.get(name)} in it, {ours.get(name)} in ours"
        else:
            return
        raise WeightsError(f"{found.path} {problem}", hint="name an empty folder to start a new run")

    def _notes(self, found: Found) -> Iterator[str]:
        if found.damage:
            yield f"{found.damage}; going back to {found.path.name}"
        yield f"going on from step {self.step}"
        if changes := ", ".join(self.recipe.changes(found.checkpoint.facts["recipe"])):
            yield f"the recipe has changed: {changes}"
        if self.step >= self.recipe.steps:
            yield f"nothing left to train: {self.step} of {self.recipe.steps} steps are done"


class Borrowed:
    """Other values in a module's parameters, put back afterwards."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
        self.pairs = [(parameters[name], value) for name, value in values.items()]
        self.own = [parameter.data for parameter, _ in self.pairs]

    def __enter__(self) -> None:
        for parameter, value in self.pairs:
            parameter.data = value

    def __exit__(self, *_: object) -> None:
        for (parameter, _borrowed), own in zip(self.pairs, self.own, strict=True):
            parameter.data = own
