"""The work behind `generate` and `replay`: requests become files, and the screen tells how far it is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fromnoise.cli.models import model_folders
from fromnoise.cli.naming import again, check_target, seeded, target
from fromnoise.cli.options import MODEL_FIELDS, PLACE_FIELDS, Asked
from fromnoise.cli.screen import Screen
from fromnoise.cli.sooner import check_sooner, clock_of, sooner
from fromnoise.events import Denoised, Encoded, Finished, Loaded
from fromnoise.request import FilledRequest, GenerateRequest, GenerateResult, Picture
from fromnoise.weights.wording import shown

if TYPE_CHECKING:
    from fromnoise.pipeline import Pipeline


def draw_all(
    requests: Sequence[GenerateRequest],
    asked: Asked,
    screen: Screen,
    *,
    expect: Mapping[str, str] | None = None,
) -> None:
    """Check everything that can be checked, then load the model, then draw.

    `expect`: the SHA-256 (or how it begins) of the files that drew this before: "model", "refiner", "vae" …
    """
    check_sooner(asked)
    for request in () if asked.dry_run else requests:
        check_target(target(asked.out, request.prompt), max(request.seeds))
    picture, mask = source(asked.image), mask_of(asked.mask)
    asked = replace(asked, adapters=requests[0].adapters)  # those of a replay are in the picture
    with screen.progress("loading"):
        asked = located(asked)
        special = {name: getattr(asked, name) for name in MODEL_FIELDS if name != "model"}
        pipe = opened(asked, asked.model, **special | {"ema": bool(asked.ema)})
        refiner = None if asked.refiner is None else opened(asked, asked.refiner)
        began = perf_counter() - pipe.load_seconds - (refiner.load_seconds if refiner else 0.0)
        pipe = taught(pipe, asked)
        pipe.wardrobe.keep_on(asked.adapters or ())  # once: for each picture it would take seconds each
    requests = [replace(request, adapters=None) for request in requests]
    for name, digest in changed(expect or {}, pipe, refiner).items():
        screen.warn(f"another {shown(name)} drew this one ({digest[:12]}…); it will look different")

    def settle(request: GenerateRequest) -> FilledRequest:
        return pipe.settled(request, picture, mask, refiner)

    requests = sooner(requests, asked, screen, pipe, refiner, settle, began)
    if asked.dry_run:
        for request in requests:
            full = settle(request)
            screen.record(full.to_json() | {"predicted": predicted(pipe, full, picture, refiner)})
        return
    with screen.progress("drawing"):
        Run(pipe, asked, screen, picture, mask, refiner).draw(requests)


def changed(expect: Mapping[str, str], pipe: "Pipeline", refiner: "Pipeline | None") -> dict[str, str]:
    """Those of the files expected that are others now, or are not there."""
    asks = {"model": pipe.digest, "refiner": refiner.digest if refiner else None, **pipe.files}
    here = {name: ask() for name, ask in asks.items() if name in expect and ask}
    return {
        name: digest
        for name, digest in expect.items()
        if (found := here.get(name)) is None or (found and not found.startswith(digest))
    }


def predicted(
    pipe: "Pipeline", request: FilledRequest, picture: Picture | None, refiner: "Pipeline | None"
) -> dict[str, float]:
    """What drawing will take: seconds, and on a CPU gigabytes of the whole process.  Raises: OutOfMemory"""
    plan = pipe.planned(request, picture, refiner)
    clock = clock_of(pipe, refiner, request, plan).forecast(request)
    seconds = {"seconds": clock.total, "first step": clock.first, "step": clock.step, "decode": clock.decode}
    found = {name: round(value, 2) for name, value in seconds.items()}
    return found if plan is None else found | {"GB": round(plan.peak / 1e9, 2)}


def taught(pipe: "Pipeline", asked: Asked) -> "Pipeline":
    """With the words of the embeddings that are named."""
    if not asked.embedding:
        return pipe
    from fromnoise.weights.embeddings import open_embedding

    return pipe.with_embeddings(*(open_embedding(file, word) for word, file in asked.embedding))


def source(path: Path | None) -> Picture | None:
    """The picture to start from."""
    if path is None:
        return None
    from fromnoise.images.pixels import read_picture

    return read_picture(path)


def mask_of(path: Path | None) -> Picture | None:
    """Where to draw, in white."""
    if path is None:
        return None
    from fromnoise.images.masks import read_mask

    return read_mask(path)


def located(asked: Asked) -> Asked:
    """With paths in place of names where --models-dir finds them, so that `again` finds them without."""
    if not asked.models_dir:
        return asked
    from fromnoise.weights.catalogue import find_model
    from fromnoise.weights.model_loader import EMBEDDED, model_file
    from fromnoise.weights.own_adapters import own_adapter
    from fromnoise.weights.wardrobe import find_adapter

    folders = model_folders(asked.models_dir)
    named = {name: getattr(asked, name) for name in ("model", "refiner", "vae")}
    paths = {
        name: str(find_model(word, folders, role="VAE" if name == "vae" else "model"))
        for name, word in named.items()
        if word not in (None, EMBEDDED)
    }
    model = model_file(paths.get("model"))  # its own adapters go by their names
    uses = tuple(
        use if own_adapter(model, use.name) else replace(use, name=str(find_adapter(use.name, folders)))
        for use in asked.adapters or ()
    )
    return replace(asked, **paths, adapters=uses or None, models_dir=())


def opened(asked: Asked, model: str | None, **special: Any) -> "Pipeline":
    """A model, ready to draw."""
    import torch

    from fromnoise.loading import load

    if asked.threads:
        torch.set_num_threads(asked.threads)
    placing = {name: value for name in (*PLACE_FIELDS, "batch") if (value := getattr(asked, name))}
    return load(model, folders=model_folders(), **placing, **special)


class Run:
    """All that one command line asks for; a picture is on the disk before the next one begins."""

    def __init__(
        self,
        pipe: "Pipeline",
        asked: Asked,
        screen: Screen,
        picture: Picture | None,
        mask: Picture | None,
        refiner: "Pipeline | None",
    ) -> None:
        self.pipe, self.asked, self.screen = pipe, asked, screen
        self.picture, self.mask, self.refiner = picture, mask, refiner
        self.written: set[Path] = set()

    def draw(self, requests: Sequence[GenerateRequest]) -> None:
        """Draw request by request, and as many seeds at a time as the pipeline would take."""
        from fromnoise.drawing.course import batches

        jobs = [
            replace(request, seeds=tuple(seeds))
            for request in requests
            for seeds in batches(request.seeds, self.at_once(request))
        ]
        before, done, total = None, 0, sum(len(job.seeds) for job in jobs)
        for job in jobs:
            self.draw_one(job, done, total, is_new=job.prompt != before)
            before, done = job.prompt, done + len(job.seeds)

    def at_once(self, request: GenerateRequest) -> int:
        """How many pictures the pipeline would take in one batch."""
        return self.pipe.at_once(self.settled(request))

    def settled(self, request: GenerateRequest) -> FilledRequest:
        """With nothing left open."""
        return self.pipe.settled(request, self.picture, self.mask, self.refiner)

    def draw_one(self, request: GenerateRequest, done: int, total: int, *, is_new: bool) -> None:
        """Draw one batch, told as it goes; so many pictures of all are done."""
        last = done + len(request.seeds)
        which = f"picture {last}" if last == done + 1 else f"pictures {done + 1} to {last}"
        for event in self.pipe.stream(request, self.picture, self.mask, self.refiner):
            match event:
                case Loaded() if done == 0:
                    self.screen.say(f"{event.model} · {event.device} · {event.dtype}")
                    if event.note:
                        self.screen.say(event.note)
                case Encoded() if is_new:
                    self.tell_losses(event, request)
                case Denoised():
                    note = f"{which} of {total}" if total > 1 else f"step {event.step} of {event.of}"
                    self.screen.bar.show((done + event.progress * (last - done)) / total, note)
                case Finished():
                    self.keep(event.result, request)
                case _:
                    pass

    def tell_losses(self, event: Encoded, request: GenerateRequest) -> None:
        """What the model could not take from the prompts."""
        from fromnoise.drawing.settling import reads_negative

        if request.negative and not reads_negative(self.settled(request)):
            self.screen.warn("the negative prompt changes nothing: guidance is 1, so it is not asked about")
        for name, cut in (("prompt", event.cut), ("negative prompt", event.negative_cut)):
            if cut:
                room = f"there is room for {event.window} tokens"
                self.screen.warn(f"the end of the {name} is left out, {room}: {cut!r}")
        if unknown := self.unknown_words(event, request.prompt):
            said = (f"{word} (nearest: {', '.join(near)})" if near else word for word, near in unknown)
            self.screen.warn(f"the model never saw these words, and draws anyway: {', '.join(said)}")

    def unknown_words(self, event: Encoded, prompt: str) -> list[tuple[str, list[str]]]:
        """Words the model never saw, each with the nearest that it did."""
        from fromnoise.weights.model_loader import EMBEDDED
        from fromnoise.world import unknown_words

        if self.asked.model in (None, EMBEDDED):
            return unknown_words(prompt, learnt=self.pipe.learnt_words)
        return [(word, [near] if near else []) for word, near in event.strangers]

    def keep(self, result: GenerateResult, request: GenerateRequest) -> None:
        """Save the pictures, never one of this run over another, and tell where they are."""
        result = replace(result, enlarge=self.asked.enlarge or result.enlarge)
        for picture in result.pictures:
            path = seeded(target(self.asked.out, request.prompt), picture.seed)
            overwrite = self.asked.force and path not in self.written
            (saved,) = replace(result, pictures=(picture,)).save(path, overwrite=overwrite)
            self.written.add(saved)
            self.tell(saved, result, request, picture.seed)

    def tell(self, saved: Path, result: GenerateResult, request: GenerateRequest, seed: int) -> None:
        """Where a picture is, and how to make it again."""
        seconds = round(result.seconds / len(result.pictures), 3)
        command = again(request.prompt, self.asked.repeating(request, seed))
        if self.asked.as_json:
            made = result.request.to_json() | {"seeds": [seed]}
            facts = {"path": str(saved), "seed": seed, "seconds": seconds, "request": made}
            model = {"model": result.model, "model_hash": result.model_hash, "again": command}
            self.screen.record(facts | model)
        else:
            self.screen.path(saved)
        self.screen.say(f"seed {seed} · {seconds:.1f} s · again: {command}")
