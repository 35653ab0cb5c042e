"""Words look where the picture shows what they name: the labels behind it, and that training on it works."""

import torch
from torch import Tensor

from fromnoise.nets.diffusion import UNet
from fromnoise.text import Tokenizer
from fromnoise.train.pointing import Pointing, Words
from fromnoise.train.presets import TINY_RUN
from fromnoise.world.render import COLOUR_NUMBER, KIND_NUMBER

CAPTION = "a red boat beside two air balloons"
TOKENIZER = Tokenizer.train([CAPTION] * 50, 600, context=16)
WORDS = Words.of(TOKENIZER)
SIDE = 8


def scene() -> tuple[Tensor, Tensor, Tensor]:
    """A red boat in the upper left corner."""
    tokens = torch.tensor(TOKENIZER([CAPTION]).ids)
    kinds, colours = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.uint8)
    kinds[0, :2, :2] = KIND_NUMBER["boat"]
    colours[0, :2, :2] = COLOUR_NUMBER["red"]
    return tokens, kinds, colours


def test_tokens_are_known_by_what_they_stand_for() -> None:
    (boat,), (red,) = TOKENIZER.encode("boat"), TOKENIZER.encode("red")
    assert WORDS.kinds[boat] == KIND_NUMBER["boat"]
    assert WORDS.colours[red] == COLOUR_NUMBER["red"]
    assert not WORDS.colours[boat]
    assert not WORDS.kinds[red]
    assert not WORDS.kinds[TOKENIZER.encode("beside")].any()


def test_shown_is_where_the_labels_have_what_the_word_names() -> None:
    tokens, kinds, colours = scene()
    shown = WORDS.shown(tokens, kinds, colours)
    ids = tokens[0].tolist()
    boat, red = ids.index(*TOKENIZER.encode("boat")), ids.index(*TOKENIZER.encode("red"))
    for place in range(len(ids)):
        assert torch.equal(shown[0, place] > 0, kinds[0] > 0) == (place in (boat, red))
        assert shown[0, place].max() <= 1
        assert bool(shown[0, place].any()) == (place in (boat, red)), "a balloon is named, but not shown"


def test_words_learn_to_look_there_and_at_once_only_there() -> None:
    torch.manual_seed(0)
    spec = TINY_RUN.spec.unet
    unet = UNet(spec)
    pointing = Pointing(unet, WORDS)
    tokens, kinds, colours = scene()
    context = torch.randn(1, tokens.shape[1], spec.context_width)
    pooled = torch.randn(1, spec.pooled_width)
    x, t = torch.randn(1, spec.in_channels, SIDE, SIDE), torch.tensor([500.0])
    optimiser = torch.optim.Adam(unet.parameters(), lr=3e-3)
    losses: list[float] = []
    for _ in range(40):
        unet(x, t, context, pooled)
        loss = pointing.loss(tokens, kinds, colours)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert 0.3 < losses[0] < 1, "at first the words look everywhere"
    assert losses[-1] < losses[0] / 4
    assert not pointing.looks, "every pass is judged once"


def test_drawing_leaves_nothing_behind() -> None:
    spec = TINY_RUN.spec.unet
    unet = UNet(spec)
    pointing = Pointing(unet, WORDS)
    with torch.no_grad():
        unet(
            torch.zeros(1, 4, 8, 8), torch.zeros(1), torch.zeros(1, 3, spec.context_width), torch.zeros(1, 32)
        )
    assert not pointing.looks


def test_a_picture_without_named_things_teaches_nothing() -> None:
    tokens, kinds, colours = scene()
    unet = UNet(TINY_RUN.spec.unet)
    pointing = Pointing(unet, WORDS)
    unet(torch.zeros(1, 4, 8, 8), torch.zeros(1), torch.zeros(1, tokens.shape[1], 32), torch.zeros(1, 32))
    assert pointing.loss(tokens, torch.zeros_like(kinds), torch.zeros_like(colours)).item() == 0
