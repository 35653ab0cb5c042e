"""The text that AUTOMATIC1111 puts into pictures, and Civitai and others read: written, and read."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from fromnoise.errors import RequestError
from fromnoise.names import find_sampler
from fromnoise.request import GenerateRequest, GenerateResult, Picture
from fromnoise.version import VERSION

OURS: Final = "fromnoise"  # who wrote a text, and the name of our own record

# How AUTOMATIC1111 labels what we call by an id.
SAMPLER_LABELS: Final[Mapping[str, str]] = {
    "ddpm": "DDPM",
    "ddim": "DDIM",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "lcm": "LCM",
}
SPACING_LABELS: Final[Mapping[str, str]] = {
    "karras": "Karras",
    "exponential": "Exponential",
    "leading": "DDIM",
    "linspace": "Normal",
    "trailing": "Simple",
    "uniform": "SGM Uniform",
}
FIELDS: Final[Mapping[str, str]] = {
    "Steps": "steps",
    "Sampler": "sampler",
    "Schedule type": "spacing",
    "CFG scale": "guidance",
    "Image CFG scale": "image_guidance",
    "Seed": "seeds",
    "Denoising strength": "strength",
    "Refiner switch at": "refine_from",
    "Token merging ratio": "merge",
}
# Source: AUTOMATIC1111's sd_schedulers.py: "Uniform" is k-diffusion's own, equal distances in t, 0 included
THEIR_SPACINGS: Final[Mapping[str, str | None]] = {
    **{label: name for name, label in SPACING_LABELS.items()},
    "Uniform": "linspace",
    "Automatic": None,
}
# Where it names none, its samplers go by equal distances in t; these have a way of their own.
UNNAMED: Final[Mapping[str, str]] = {"ddim": "leading", "lcm": "trailing"}
HIRES: Final = {"Hires upscale", "Hires resize"}  # a second pass, whose strength is no request's
HARMLESS: Final = {  # details that change no picture, or are told in another way
    *("Size", "Model", "Model hash", "Hashes", "Lora hashes", "TI hashes", "Refiner", "RNG", "Version"),
    *("User", "Created Date"),
}
LEFT_OUT: Final = "left_out"  # of another program's settings: those we have no word for
HASH_LENGTH: Final = 10  # of the SHA-256, as AUTOMATIC1111 shows it
HEADING = re.compile(r"^(\s*)(Steps|Negative prompt):", re.MULTILINE)
TAG = re.compile(r" ?<(?:lora|lyco):([^<>:]+)(?::([^<>]*))?>")
NUMBER = re.compile(r"[+-]?[\d.]+(?:e[+-]?\d+)?")
DIGEST = re.compile(rf"[0-9a-f]{{{HASH_LENGTH}}}")
PLAIN_NAME = re.compile(r"[\w.\-]+\Z", re.ASCII)  # Source: Civitai's reader takes these letters only
HASHES = re.compile(r"Hashes: ({[^{}]*})\s*\Z")
DETAIL = re.compile(r'\s?(\w[\w \-/]{1,60}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


# --- writing ---


def parameters(result: GenerateResult, picture: Picture) -> str:
    """The text that AUTOMATIC1111, Civitai and their readers understand."""
    request = result.request
    tags = [
        f"<lora:{use.name}:{use.scale:g}>" for use in request.adapters or () if PLAIN_NAME.match(use.name)
    ]
    lines = [" ".join([_body(request.prompt), *tags])]
    if request.negative:
        lines.append(f"Negative prompt: {_body(request.negative)}")
    return "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in _details(result, picture))])


def _details(result: GenerateResult, picture: Picture) -> Iterator[tuple[str, str]]:
    request, short_hash = result.request, result.model_hash[:HASH_LENGTH]
    yield "Steps", str(request.steps)  # first: Civitai finds the line by it
    yield "Sampler", SAMPLER_LABELS[request.sampler]
    yield "Schedule type", SPACING_LABELS[request.spacing]
    yield "CFG scale", f"{request.guidance:g}"
    yield "Seed", str(picture.seed)
    yield "Size", f"{picture.width}x{picture.height}"
    if short_hash:
        yield "Model hash", short_hash
    if result.model:
        yield "Model", _quoted(result.model)
    if request.image_guidance is not None:
        yield "Image CFG scale", f"{request.image_guidance:g}"
    if request.strength is not None:
        yield "Denoising strength", f"{request.strength:g}"
    if request.refine_from is not None:
        short = result.refiner_hash[:HASH_LENGTH]
        yield "Refiner", _quoted(f"{result.refiner} [{short}]" if short else result.refiner)
        yield "Refiner switch at", f"{request.refine_from:g}"
    if request.merge:
        yield "Token merging ratio", f"{request.merge:g}"
    yield "RNG", "CPU"  # else readers take it for GPU noise
    yield "Version", f"{OURS} {VERSION}"
    hashes = {f"lora:{use.name}": use.hash for use in request.adapters or () if PLAIN_NAME.match(use.name)}
    hashes = {name: short for name, short in {"model": short_hash, **hashes}.items() if short}
    if hashes:
        yield "Hashes", json.dumps(hashes)  # last, and not quoted: Civitai


def _body(prompt: str) -> str:
    """A prompt whose lines cannot be taken for headings; the exact one is in our own record."""
    return HEADING.sub(r"\1\2 :", prompt).replace("\0", "\ufffd")


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value


# --- reading ---


def from_parameters(text: str) -> GenerateRequest:
    """Read AUTOMATIC1111's text; details we have no word for are left out.  Raises: RequestError"""
    return GenerateRequest.from_json(record_in(text)["request"])


def record_in(text: str) -> dict[str, Any]:
    """What AUTOMATIC1111's text says of a picture: its "request", as fields nobody checked, its model, and
    what is `LEFT_OUT`, for we have no word for it.

    Raises: RequestError
    """
    *body, last = text.strip().split("\n")
    details = {name: _unquoted(value) for name, value in DETAIL.findall(HASHES.sub("", last))}
    if "Steps" not in details:
        raise RequestError({"picture": "its text says nothing about steps, so it is not a list of settings"})
    left = {name: value for name, value in details.items() if name not in FIELDS.keys() | HARMLESS}
    if HIRES & details.keys():
        details.pop("Denoising strength", None)
    prompt, _, negative = "\n".join(body).partition("\nNegative prompt:")
    if prompt.startswith("Negative prompt:"):
        prompt, negative = "", prompt.removeprefix("Negative prompt:")
    fields: dict[str, Any] = {"prompt": TAG.sub("", prompt), "negative": negative.strip()}
    try:
        fields["adapters"] = _adapters(prompt, last)
        fields |= {
            ours: _value(ours, details[theirs]) for theirs, ours in FIELDS.items() if theirs in details
        }
        if size := details.get("Size"):
            width, height = map(int, size.split("x"))
            fields |= {"width": width, "height": height}
    except (ValueError, RecursionError) as error:
        raise RequestError({"picture": f"its settings are damaged: {error}"}) from error
    if fields.get("spacing") is None:
        fields["spacing"] = _spacing_of(details.get("Sampler", ""))
    digest = details.get("Model hash", "").lower()
    return {
        "request": fields,
        "model": details.get("Model", ""),
        "model_hash": digest if DIGEST.fullmatch(digest) else "",  # shorter ones are no SHA-256
        LEFT_OUT: [f"{name}: {value}" for name, value in left.items()],
    }


def _spacing_of(sampler: str) -> str | None:
    """What AUTOMATIC1111 means by this sampler alone; None for one that we do not have."""
    try:
        name, implied = find_sampler(sampler)
    except RequestError:
        return None
    return implied or UNNAMED.get(name, "linspace")


def _adapters(prompt: str, details: str) -> list[dict[str, Any]] | None:
    """Those that AUTOMATIC1111 is asked for inside the prompt.  Raises: ValueError"""
    found = HASHES.search(details) if f"Version: {OURS} " in details else None  # others mean other hashes
    hashes: dict[str, Any] = json.loads(found[1]) if found else {}
    named = {name: _scale(rest) for name, rest in cast(list[tuple[str, str]], TAG.findall(prompt))}
    short = {name: str(hashes.get(f"lora:{name}", "")) for name in named}
    return [{"name": name, "scale": scale, "hash": short[name]} for name, scale in named.items()] or None


def _scale(said: str) -> float:
    """How much of an adapter: one number, or the text encoders' and then the U-Net's, which decides here.

    Either may be named: "te=0.5:unet=0.8".
    Raises: ValueError
    """
    words = said.split(":")
    unet = [word.removeprefix("unet=") for word in words if word.startswith("unet=")]
    numbers = [float(word) for word in unet or words if NUMBER.fullmatch(word)]
    return numbers[:2][-1] if numbers else 1.0


def _value(field: str, text: str) -> Any:
    match field:
        case "steps":
            return int(text)
        case "seeds":
            return [int(text)]
        case "sampler":
            return text
        case "spacing":
            return THEIR_SPACINGS.get(text, text)
        case _:
            return float(text)


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value
