"""stable-diffusion.cpp, built for this processor: it draws pictures, and tells when each step is done."""

from itertools import pairwise
from time import perf_counter, time
from typing import Any, ClassVar

from benchmarks.peers.contestant import ALL, STEPS, Contestant
from benchmarks.peers.job import GUIDANCE, LONG, PROMPT, SEED, SHORT, Found, peak_memory


class StableDiffusionCpp(Contestant):
    """It reads the file that `fromnoise convert` wrote."""

    packages: ClassVar[tuple[str, ...]] = ("stable-diffusion-cpp-python",)

    def _model(self) -> Any:
        from stable_diffusion_cpp import StableDiffusion

        return StableDiffusion(
            model_path=str(self.job.single),
            n_threads=self.job.threads,
            vae_decode_only=True,
            rng_type="cpu",  # torch's own numbers, so that its picture is ours
            verbose=True,
        )

    def _draw(self, model: Any, steps: int) -> tuple[Any, list[tuple[float, float]], float]:
        """The picture; when each step ended, by the clock and since the epoch; when all was done."""
        ends: list[tuple[float, float]] = []

        def tick(step: int, of: int, seconds: float) -> None:
            if step == 0:  # sampling begins
                ends.clear()
            ends.append((perf_counter(), time()))

        (picture,) = model.generate_image(
            prompt=PROMPT,
            width=self.job.size,
            height=self.job.size,
            cfg_scale=GUIDANCE,
            sample_method="euler",
            scheduler="discrete",
            sample_steps=steps,
            seed=SEED,
            progress_callback=tick,
        )
        done = perf_counter()
        assert len(ends) == steps + 1, f"{len(ends) - 1} of {steps} steps were told"
        return picture, ends, done

    def first(self) -> Found:
        """The shortest picture: nothing of it is kept on the disk, so the first step is always the same."""
        _, ends, _ = self._draw(self._model(), 1)
        return Found(first=ends[1][1] - self.job.began)

    def measure(self) -> Found:
        """Short pictures, until there are enough steps; the first is not timed."""
        found, model = Found(), self._model()
        picture, ends, _ = self._draw(model, SHORT)
        found.first = ends[1][1] - self.job.began
        found.peak[STEPS] = peak_memory()  # with its decoder: it cannot be stopped before
        for _ in range(max(self.job.decodes, -(-self.job.runs // SHORT))):
            _, ends, done = self._draw(model, SHORT)
            found.steps += [after - before for (before, _), (after, _) in pairwise(ends)]
            found.decodes.append(done - ends[-1][0])
        found.peak[ALL] = peak_memory()
        found.error["picture"] = self._error(picture)
        return found

    def _error(self, picture: Any) -> float:
        from benchmarks.peers import reference
        from benchmarks.peers.question import relative_error
        from fromnoise.images.pixels import from_image, to_pixels

        wanted = reference.read(self.job)["pixels"].clamp(-1, 1)
        return relative_error(to_pixels(from_image(picture)), wanted)

    def draw(self) -> None:
        """A whole picture, saved."""
        picture, *_ = self._draw(self._model(), LONG)
        picture.save(self.job.picture)
