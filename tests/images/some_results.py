"""Results of drawings that nobody made, and prompts that are hard to write down."""

from fromnoise.request import GenerateRequest, GenerateResult, Picture
from fromnoise.specs import Defaults

PROMPTS = [
    "a red lighthouse on an island at sunset",
    "ein rotes Häuschen, naïve",
    "赤い灯台 🏝️ مَنارَة حَمراء",
    "several\nlines\n\nNegative prompt: none\nSteps: 3, Sampler: magic",
    "Negative prompt: at once",
    "Steps: 3",
    "",
    'quotes " and , and : and \\',
    "nul \0 and bell \a",
]


def result_of(prompt: str = "a red house", **fields: object) -> GenerateResult:
    request = GenerateRequest.of(prompt, **({"seeds": (7, 8)} | fields)).filled(Defaults(width=16, height=8))
    pictures = tuple(Picture(16, 8, bytes([seed % 256] * 3 * 16 * 8), seed) for seed in request.seeds)
    return GenerateResult(pictures, request, 1.0, model="tiny, it's: one", model_hash="ab" * 32, enlarge=4)
