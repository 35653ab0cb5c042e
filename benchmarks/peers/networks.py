"""Systems whose U-Net and decoder can be asked on their own."""

from abc import abstractmethod
from itertools import islice
from time import perf_counter, time
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import reference
from benchmarks.peers.contestant import ALL, STEPS, Contestant
from benchmarks.peers.job import LONG, NUMBERS, PROMPT, SEED, Found, Job, peak_memory
from benchmarks.peers.question import Decode, Predict, questions, relative_error, walk


class Networks(Contestant):
    """It gives the two networks, and the rest is the same for all."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        torch.set_num_threads(job.threads)
        self.dtype: torch.dtype = getattr(torch, NUMBERS[job.number])

    @abstractmethod
    def unet(self) -> Predict:
        """Load the U-Net, and make it fast."""

    @abstractmethod
    def decoder(self) -> Decode:
        """Load the decoder, and make it fast."""

    @torch.inference_mode()
    def first(self) -> Found:
        """One guided step from the start of the process."""
        return self._first(self.unet())

    def _first(self, predict: Predict) -> Found:
        ask = next(questions(self.job.size))
        answer = predict(ask.latents, ask.times, ask.context)
        took = time() - self.job.began
        return Found(first=took, error={"U-Net": relative_error(answer, reference.read(self.job)["noise"])})

    @torch.inference_mode()
    def measure(self) -> Found:
        """The first step, then several, then the decoder."""
        predict = self.unet()
        found = self._first(predict)
        for ask in islice(questions(self.job.size), 1, 2 + self.job.runs):
            began = perf_counter()
            predict(ask.latents, ask.times, ask.context)
            found.steps.append(perf_counter() - began)
        del found.steps[0]  # the second step may still prepare something
        found.peak[STEPS] = peak_memory()
        decode, wanted = self.decoder(), reference.read(self.job)
        for _ in range(1 + self.job.decodes):
            began = perf_counter()
            pixels = decode(wanted["latents"])
            found.decodes.append(perf_counter() - began)
        del found.decodes[0]
        found.error["decoder"] = relative_error(pixels, wanted["pixels"])
        found.peak[ALL] = peak_memory()
        return found

    @torch.inference_mode()
    def draw(self) -> None:
        """No more around the networks than must be: a whole program takes longer."""
        from fromnoise.images.pixels import to_image, to_pictures

        latents = walk(self.unet(), self._context(), LONG, self.job.size)
        (picture,) = to_pictures(self.decoder()(latents).float(), (SEED,))
        to_image(picture).save(self.job.picture)

    def _context(self) -> Tensor:
        from transformers import CLIPTextModel, CLIPTokenizer

        tokenizer: Any = CLIPTokenizer.from_pretrained(self.job.folder / "tokenizer")
        encoder: Any = CLIPTextModel.from_pretrained(self.job.folder / "text_encoder", dtype=self.dtype)
        words = tokenizer(["", PROMPT], padding="max_length", truncation=True, return_tensors="pt")
        return encoder.eval()(words.input_ids).last_hidden_state.float()
