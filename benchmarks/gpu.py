"""A graphics card: a guided step and a decode beside diffusers; how many small pictures it draws a second.

Equal random weights, bfloat16, channels last; each system with and without torch's compiler. The share is of
what the card reaches in one large product of bfloat16 matrices. The last column is the error against plain
float32 on the CPU, in units of the typical value.

python -m benchmarks.gpu [--runs 20]      needs a CUDA device, and the extra "oracle"
python -m benchmarks.gpu --rehearse       tiny shapes on the CPU: only shows that this script works
"""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fromnoise.engine.card import Card
from fromnoise.engine.graphs import for_card
from fromnoise.loading import load
from fromnoise.nets.blocks import time_features
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.encoder import Encoder
from fromnoise.request import GenerateRequest
from fromnoise.specs import SD15, SDXL, TINY, ModelSpec

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # their networks with our weights
from fake_card import FakeCard
from mapping import unet_names, vae_names
from network_errors import NUMBERS
from parity import noise, relative_error, share_weights
from peers import NUMBER_WIDTH
from peers import unet as their_unet
from peers import vae as their_vae

DTYPE: Final = torch.bfloat16
SIDE, SMALL_SIDE = 8192, 256  # of the matrices
TOKENS: Final = 77
PICTURES, SMALL_PICTURES = 1024, 2
STEPS: Final = 4  # of the small model's pictures
WARM_UPS: Final = 3

Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Place:
    """Where it runs, and how long."""

    device: torch.device
    runs: int

    @property
    def is_rehearsal(self) -> bool:
        return self.device.type == "cpu"

    @property
    def card(self) -> Any:
        return FakeCard() if self.is_rehearsal else Card(self.device)

    @property
    def compiler(self) -> dict[str, Any]:
        """diffusers' own advice for a card."""
        return {"backend": "eager"} if self.is_rehearsal else {"mode": "max-autotune", "fullgraph": True}

    def seconds(self, run: Callable[[], object]) -> float:
        """Of the median of several runs."""
        times: list[float] = []
        for _ in range(WARM_UPS + self.runs):
            self.wait()
            began = perf_counter()
            run()
            self.wait()
            times.append(perf_counter() - began)
        return median(times[WARM_UPS:])

    def wait(self) -> None:
        if not self.is_rehearsal:
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Row:
    """One system on one shape."""

    shape: str
    system: str
    step: float  # seconds
    decode: float
    flops: float  # of a step
    error: float


# --- the two networks of a model, ours and theirs ---


@dataclass(frozen=True)
class Asked:
    """One guided step: one picture, two texts; and one decode."""

    latents: Tensor
    times: Tensor
    context: Tensor
    text: Tensor | None
    pooled: Tensor | None

    @classmethod
    def of(cls, spec: ModelSpec) -> "Asked":
        side, unet = spec.defaults.width // spec.vae.factor, spec.unet
        text = pooled = None
        if unet.pooled_width:
            said = time_features(NUMBERS.flatten(), NUMBER_WIDTH).reshape(2, -1)
            text = noise(2, unet.pooled_width - said.shape[1])
            pooled = torch.cat([text, said], dim=1)
        context = noise(2, TOKENS, unet.context_width)
        return cls(noise(1, unet.in_channels, side, side), torch.tensor([500.0]), context, text, pooled)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Asked":
        moved = {
            name: value.to(device, dtype)
            for name, value in vars(self).items()
            if name != "times" and value is not None
        }
        return replace(self, times=self.times.to(device), **moved)

    def ours(self, unet: nn.Module) -> Run:
        return lambda: unet(self.latents, self.times, self.context, self.pooled)

    def theirs(self, unet: nn.Module) -> Run:
        latents, device = self.latents.repeat(2, 1, 1, 1), self.latents.device
        told = {} if self.text is None else {"text_embeds": self.text, "time_ids": NUMBERS.to(device)}
        return lambda: unet(
            latents.contiguous(memory_format=torch.channels_last),
            self.times,
            encoder_hidden_states=self.context,
            added_cond_kwargs=told,
            return_dict=False,
        )[0]


class TheirDecoder(nn.Module):
    """Latents to pixels as one module."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.enter, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents: Tensor) -> Tensor:
        """Shapes: (B, 4, h, w) -> (B, 3, 8 h, 8 w)"""
        return self.decoder(self.enter(latents))


def compared(spec: ModelSpec, place: Place) -> Iterator[Row]:
    """Every system on one shape."""
    asked = Asked.of(spec)
    ours, theirs = UNet(spec.unet), their_unet(spec.unet)
    share_weights(theirs, ours, unet_names(spec.unet))
    vae = their_vae(spec.vae)
    both = nn.ModuleDict({"encoder": Encoder(spec.vae), "decoder": Decoder(spec.vae)})
    share_weights(vae, both, vae_names(spec.vae))
    decoder, their_decoder = both["decoder"], TheirDecoder(vae)
    wanted, flops = counted(asked.ours(ours))
    asked = asked.to(place.device, DTYPE)
    shape = f"{spec.name} {spec.defaults.width}²"

    def row(system: str, step: Run, decode: Run) -> Row:
        error = relative_error(step().float().cpu(), wanted)
        return Row(shape, system, place.seconds(step), place.seconds(decode), flops, error)

    networks = [network.to(place.device, DTYPE) for network in (ours, decoder, theirs, their_decoder)]
    card = place.card
    for system, compiled in (("fromnoise", False), ("fromnoise, compiled", True)):
        if not (compiled and place.is_rehearsal):
            unet, paint = (for_card(network, card, compiled=compiled) for network in networks[:2])
            yield row(system, asked.ours(unet), lambda paint=paint: paint(asked.latents))
    last = [network.to(memory_format=torch.channels_last) for network in networks[2:]]
    for system, compiled in (("diffusers", False), ("diffusers, compiled", True)):
        unet, paint = (torch.compile(n, **place.compiler) if compiled else n for n in last)
        latents = asked.latents.contiguous(memory_format=torch.channels_last)
        yield row(system, asked.theirs(unet), lambda paint=paint, latents=latents: paint(latents))


def counted(run: Run) -> tuple[Tensor, float]:
    """An answer, and the operations it took, as torch counts them."""
    counter: Any = FlopCounterMode(display=False)
    with counter:
        answer = run()
    return answer, float(counter.get_total_flops())


# --- the card, and the small model ---


def matmul_rate(place: Place) -> float:
    """FLOP a second of one large product in bfloat16."""
    side = SMALL_SIDE if place.is_rehearsal else SIDE
    a, b = (noise(side, side, seed=seed).to(place.device, DTYPE) for seed in range(2))
    return 2 * side**3 / place.seconds(lambda: a @ b)


def pictures_a_second(place: Place) -> float:
    """Of the embedded model, from the request to the bytes, texts and guidance included."""
    pipe = load(device=str(place.device))
    count = SMALL_PICTURES if place.is_rehearsal else PICTURES
    request = GenerateRequest(prompt="a red house", seeds=tuple(range(count)), steps=STEPS)
    return count / replace(place, runs=min(place.runs, 3)).seconds(lambda: pipe(request))


def table(rows: list[Row], rate: float) -> Iterator[str]:
    """In markdown."""
    yield "| shape | system | step ms | decode ms | share of the matmul rate | error |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        share = row.flops / row.step / rate
        yield (
            f"| {row.shape} | {row.system} | {1e3 * row.step:.1f} | {1e3 * row.decode:.1f} "
            f"| {share:.0%} | {row.error:.3f} |"
        )


def main() -> None:
    """Measure, and print the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes on the CPU")
    told = parser.parse_args()
    if not told.rehearse and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --rehearse shows that the script works")
    place = Place(torch.device("cpu" if told.rehearse else told.device), 1 if told.rehearse else told.runs)
    name = "rehearsal, no card" if told.rehearse else torch.cuda.get_device_name(place.device)
    specs = [TINY] if told.rehearse else [SD15, SDXL]
    rate = matmul_rate(place)
    rows: list[Row] = []
    with torch.inference_mode():
        for spec in specs:
            rows += compared(spec, place)
    print(f"**{name}**, torch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}, medians of {place.runs}\n")
    print("\n".join(table(rows, rate)))
    print(f"\nOne product of bfloat16 matrices: {rate / 1e12:.1f} TFLOP/s.", end=" ")
    print(f"The embedded model: {pictures_a_second(place):.1f} pictures/s at {STEPS} steps.")


if __name__ == "__main__":
    main()
