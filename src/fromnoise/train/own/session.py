"""The story: a folder of pictures teaches a model, and a file is left that draws what it learned."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from math import isqrt
from pathlib import Path
from typing import Any, Final

import torch

from fromnoise.drawing.settling import kind_of
from fromnoise.durable import make_folder
from fromnoise.engine.precision import native_dtype
from fromnoise.errors import RequestError, WeightsError
from fromnoise.pipeline import Pipeline
from fromnoise.train.lock import only_one_in
from fromnoise.train.loop import Borrowed, Run, fit
from fromnoise.train.own.learners import embedding_learner, lora_learner, unet_learner
from fromnoise.train.own.memory import forget_between, lay_out, remember_no_weights
from fromnoise.train.own.objective import CAPPED, MIN_SNR
from fromnoise.train.own.prior import PRIOR, draw_prior, prior_examples, prior_prompts
from fromnoise.train.own.task import OwnTask
from fromnoise.train.own.wishes import Wishes
from fromnoise.train.own.writing import check_target_of, write_result
from fromnoise.train.pictures import (
    MOMENTS,
    Buckets,
    Census,
    Example,
    LatentCache,
    Lessons,
    Phrasing,
    bucket_table,
    open_pictures,
    take_census,
)
from fromnoise.train.pictures.lessons import check_held_out
from fromnoise.train.recipe import Progress, Recipe
from fromnoise.train.state import newest

LEARNERS: Final = {"unet": unet_learner, "lora": lora_learner, "embedding": embedding_learner}
SMALL: Final = 256  # pixels: the side up to which a model is a small one
RATES: Final = {  # learning rates of small models, and of others. Source of these: the guides of diffusers
    "unet": (2e-4, 1e-5),
    "lora": (1e-3, 1e-4),
    "embedding": (5e-3, 5e-3),
}
FROM_SCRATCH: Final = (8e-4, 1e-4)
STEPS: Final = 1500
BATCHES: Final = (16, 1)  # of small models, and of others
HELD_OUT_EACH: Final = 50  # one picture of so many is only looked at, ...
MOST_HELD_OUT: Final = 32  # ... and no more than these
SAMPLES: Final = 8  # on a sheet of a small model; of others a quarter of it
REPORT_EVERY: Final = 10  # steps
OTHERS: Final = {  # what a checkpoint must have in common with a training, and else is one of
    "model": "another model",
    "prediction": "another prediction",
    "learner": "other settings",
}


def name_of(pictures: Path) -> str:
    """What a result is called: as its folder of pictures."""
    path = pictures.resolve()
    return re.sub(r"[^\w.\-]+", "-", path.name if path.is_dir() else path.stem).strip("-.") or "own"


class Session:
    """One folder, one model, one result: `report`, `draw_prior`, `encode`, `task`, `train`, `write`.

    The pipeline is what learns: load another one to draw with.
    Raises: RequestError, StorageError for what cannot be; WeightsError for a model that cannot learn
    """

    def __init__(self, pictures: Path, out: Path, pipe: Pipeline, wishes: Wishes) -> None:
        if out.resolve().is_relative_to(pictures.resolve()):
            problem = f"{out} lies among the pictures"
            raise RequestError({"out": problem}, hint="name another folder: -o FOLDER")
        if kind_of(pipe.spec) != "plain" or pipe.spec.unet.guidance_width:
            problem = f"{pipe.spec.name} is shown more than noise and text, or was distilled"
            raise WeightsError(problem, hint="learn on the plain model that it was made from")
        if wishes.min_snr is not None and pipe.spec.prediction not in CAPPED:
            problem = f"{pipe.spec.name} predicts {pipe.spec.prediction}: its errors count alike at all times"
            raise RequestError({"min_snr": problem}, hint="leave --min-snr out")
        if wishes.kind == "unet":
            check_target_of(wishes, pipe.spec, out, name_of(pictures))
        if wishes.kind == "embedding":
            embedding_learner(pipe, wishes)  # refuses what cannot be learned
        self.pictures, self.out, self.pipe, self.wishes = (
            open_pictures(pictures, caption=wishes.caption, file_names=wishes.file_names),
            out,
            pipe,
            wishes,
        )
        self.name = name_of(pictures)
        self.buckets = self._sizes()
        self.is_small = isqrt(pipe.spec.defaults.width * pipe.spec.defaults.height) <= SMALL
        self.precision = native_dtype(pipe.device)
        self.prior = prior_prompts(pipe, wishes.prior, wishes.prior_prompts) if wishes.prior else []
        self.examples, self.renamed = self._worded()
        self.recipe = self._recipe()
        self.min_snr = MIN_SNR if wishes.min_snr is None else wishes.min_snr
        self.facts = {
            "model": pipe.model_hash,
            "prediction": pipe.spec.prediction,
            "learner": wishes.settings,
            "min_snr": self.min_snr,
        }
        self.before = self._before()  # first: encoding takes away what another model's training had encoded
        make_folder(out)
        with only_one_in(out):  # before hours of work for a training that another process is at
            pass
        self.cache = LatentCache(out / MOMENTS, pipe.encoder.float(), self.buckets, seed=wishes.seed)
        self.lessons: Lessons | None = None

    def _sizes(self) -> Buckets:
        """What pictures are brought to.  Raises: RequestError if the U-Net cannot halve them so often

        Halving a single latent is not only useless: in bfloat16, torch 2.13's gradient of it is not finite.
        """
        spec = self.pipe.spec
        buckets, least = (
            Buckets.of(spec, self.wishes.size),
            spec.vae.factor * 2 ** (len(spec.unet.multipliers) - 1),
        )
        if (side := min(map(min, buckets.sizes))) < least:
            problem = f"buckets would be down to {side} pixels narrow; this U-Net needs {least}"
            raise RequestError({"size": problem}, hint=f"--size {2 * least}, or more")
        return buckets

    def _worded(self) -> tuple[tuple[Example, ...], int]:
        """The examples; of an embedding's, every caption says the word."""
        examples, word = self.pictures.examples, self.wishes.word
        if self.wishes.kind != "embedding":
            return examples, 0
        said = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
        changed: list[Example] = []
        for each in examples:
            captions = tuple(c if said.search(c) else f"{word}, {c}" if c else word for c in each.captions)
            changed.append(replace(each, told=replace(each.told, captions=captions)))
        return tuple(changed), sum(a.captions != b.captions for a, b in zip(examples, changed, strict=True))

    def _recipe(self) -> Recipe:
        wishes, which = self.wishes, 0 if self.is_small else 1
        steps = wishes.steps or STEPS
        held_out = wishes.held_out
        if held_out is None:
            held_out = min(MOST_HELD_OUT, len(self.examples) // HELD_OUT_EACH)
        check_held_out(held_out, len(self.examples) + len(self.prior))
        return Recipe(
            steps=steps,
            batch=wishes.batch or BATCHES[which],
            lr=wishes.lr or (FROM_SCRATCH if wishes.from_scratch else RATES[wishes.kind])[which],
            held_out=held_out,
            warmup=max(1, min(100, steps // 10)),
            fall=0.5,
            weight_decay=0.0 if wishes.kind == "embedding" else 0.01,
            ema=wishes.ema,
            seed=wishes.seed,
            look_every=wishes.sample_every or max(100, steps // 4),
        )

    def _before(self) -> Mapping[str, Any]:
        """What the folder's checkpoint says of itself.  Raises: WeightsError if it is another training's"""
        found = newest(self.out, facts_only=True)
        if not found:
            return {}
        before = found.checkpoint.facts
        for name, what in OTHERS.items():
            if name in before and before[name] != self.facts[name]:
                problem = f"{found.path} holds a training of {what}: {before[name]}, not {self.facts[name]}"
                raise WeightsError(problem, hint="name an empty folder to start a new run: -o FOLDER")
        return before

    # --- telling ---

    def census(self) -> Census:
        """What was found, and what was left out; once all is encoded, damage behind sound headers too."""
        return take_census(self.pictures, also=self.cache.skipped)

    def report(self) -> Iterator[str]:
        """What is going to be done, for people: before anything is."""
        yield from self.census().lines()
        if self.renamed:
            yield f"{self.renamed:,} captions did not say {self.wishes.word!r}; it goes before them"
        for row in bucket_table(self.examples, self.buckets):
            enlarged = f", {row.enlarged:,} of them enlarged" if row.enlarged else ""
            width, height = row.size
            yield f"bucket {width}x{height}: {row.pictures:,} pictures, {row.kept:.0%} of them kept{enlarged}"
        recipe, wishes = self.recipe, self.wishes
        beside = f", {wishes.prior:,} pictures of the model's own beside" if wishes.prior else ""
        yield (
            f"{wishes.kind} of {self.pipe.spec.name}: {recipe.steps:,} steps of {recipe.batch}, "
            f"learning rate {recipe.lr:g}, {str(self.precision).removeprefix('torch.')}, "
            f"{recipe.held_out} held out{beside}"
        )

    # --- doing ---

    def draw_prior(self) -> Iterator[int]:
        """Draw the pictures of the model's own; yields how many there are."""
        size = self.pipe.spec.defaults.width, self.pipe.spec.defaults.height
        precision = torch.autocast("cpu", torch.bfloat16, enabled=self._is_mixed)
        yield from draw_prior(self.pipe, self.out / PRIOR, self.prior, size, precision)
        self.examples += tuple(prior_examples(self.out / PRIOR, len(self.prior)))

    def encode(self) -> Iterator[int]:
        """Encode every picture once; yields how many are done.  Raises: StorageError, NonFiniteError"""
        yield from self.cache.fill(self.examples)

    @property
    def _is_mixed(self) -> bool:
        return self.precision is torch.bfloat16

    def task(self) -> OwnTask:
        """What is to be trained, once all is encoded.  Raises: RequestError if nothing is left"""
        wishes = self.wishes
        learner = LEARNERS[wishes.kind](self.pipe, wishes)
        remember_no_weights(self.pipe.unet)
        if wishes.low_memory:  # to lay it out takes the U-Net twice, for a moment
            forget_between(self.pipe.unet)
        elif not self.is_small:
            lay_out(self.pipe.unet)
        self.lessons = lessons = Lessons(
            self.examples,
            self.cache,
            self.pipe.spec,
            learner.pipe.tokenizers,
            batch=self.recipe.batch,
            seed=wishes.seed,
            phrasing=Phrasing(wishes.dropout, wishes.shuffle, wishes.keep),
            held_out=self.recipe.held_out,
        )
        return OwnTask(
            f"own {wishes.kind}",
            learner,
            lessons,
            gamma=self.min_snr,
            precision=self.precision,
            samples=wishes.samples or self._captions(lessons),
            facts={**self.facts, "pictures": lessons.digest()},
        )

    def _captions(self, lessons: Lessons) -> list[str]:
        """What sheets show if nobody says so: some of the captions, evenly picked."""
        captions = list(dict.fromkeys(e.captions[0] for e in lessons.examples if e.captions[0]))
        count = min(len(captions), SAMPLES if self.is_small else SAMPLES // 4)
        return [captions[k * len(captions) // count] for k in range(count)] or [""]

    def train(self, task: OwnTask) -> Iterator[Progress]:
        """Train to the end, going on where it was stopped.

        Raises: WeightsError for a checkpoint of another task; NonFiniteError; StorageError
        """
        notes = tuple(self._changes(task.facts))
        for progress in fit(task, self.recipe, self.out, report_every=REPORT_EVERY):
            yield replace(progress, notes=progress.notes + notes)
            notes = ()

    def _changes(self, facts: Mapping[str, Any]) -> Iterator[str]:
        """What is not as it was when the checkpoint was written."""
        before = {**facts, **self.before}
        if before["min_snr"] != facts["min_snr"]:
            yield f"the recipe has changed: min_snr {before['min_snr']} -> {facts['min_snr']}"
        if before["pictures"] != facts["pictures"]:
            yield "pictures, captions or batches have changed; going on with the new ones"

    def write(self, task: OwnTask) -> Path:
        """Write what was learned, averaged, where other programs read it; where it is."""
        run = Run(task, self.recipe, self.out)
        with Borrowed(run.parameters, run.ema.averages if run.ema else {}):
            facts = {"steps": run.step, "pictures": len(self.examples), **asdict(self.recipe)}
            return write_result(task.learner, self.wishes, self.out, self.name, facts, self._words())

    def _words(self) -> list[str]:
        """Every word of the captions."""
        tokenizer = self.pipe.tokenizers[0]
        said = (word for each in self.pictures.examples for c in each.captions for word in tokenizer.words(c))
        return sorted({word for word in said if word.isalpha()})
