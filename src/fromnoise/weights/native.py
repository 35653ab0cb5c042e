"""Our own format: one safetensors file that holds a whole model, its spec and its tokenizers included.

Tensors are named by room ("texts.0.…", "unet.…", "encoder.…", "decoder.…"); the rest is JSON in the header.
Weights may be kept as bytes, "X.weight_scale" beside each (scaled.py): such files are of format 2.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from reprlib import repr as brief
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fromnoise.durable import replacing
from fromnoise.errors import SpecError, StorageError, WeightsError
from fromnoise.nets.clip import TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.encoder import Encoder
from fromnoise.specs import ModelSpec
from fromnoise.weights.mapped import TYPES
from fromnoise.weights.scaled import INT8, WEIGHT, find_scaling, in_bytes
from fromnoise.weights.wording import shown

HEADER: Final = "fromnoise"  # the metadata key of a safetensors file that holds our JSON
FORMAT: Final = 1
WITH_BYTES: Final = 2  # the format of files that hold some
SMALL: Final = ("unet", "texts")  # rooms that bytes are enough for; a decoder's rounding would be seen
CHECKER: Final = "oracle"  # what stands in our JSON in place of a model's spec (score/oracle.py)
IS_CHECKER: Final = "it is a checker, which looks at pictures and draws none"
FOR_CHECKERS: Final = "give it to `fromnoise score --oracle FILE`"
ALL_OF_THEM: Final = "download it again; `fromnoise inspect FILE` names every tensor that does not fit"
MUST_BE: Final = {"spec": dict, "tokenizers": list, "about": dict}  # in our JSON
PUBLIC: Final = 0o644  # safetensors leaves its files to their owner alone; a model is there to be read


@dataclass(frozen=True, slots=True)
class Parts:
    """A model in pieces, as files hold it; tokenizers are JSON because this room knows no text."""

    spec: ModelSpec
    texts: tuple[TextTransformer, ...]
    unet: UNet
    encoder: Encoder
    decoder: Decoder
    tokenizers: tuple[Mapping[str, Any], ...]
    about: Mapping[str, Any] = field(
        default_factory=dict[str, Any]
    )  # free: author, licence, words, preview …
    digest: Callable[[], str] = str  # asks for the SHA-256 of what it came from; that of 2 GB takes seconds

    @classmethod
    def blank(cls, spec: ModelSpec, **others: Any) -> "Parts":
        """Networks of this spec, freshly initialised on torch's default device."""
        texts = tuple(map(TextTransformer, spec.texts))
        others = {"tokenizers": (), **others}
        return cls(spec, texts, UNet(spec.unet), Encoder(spec.vae), Decoder(spec.vae), **others)

    @property
    def sha256(self) -> str:
        """Of the file it came from, computed when first asked for; "" if it is not known."""
        return self.digest()

    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Every network, under the name that its tensors begin with."""
        yield from ((f"texts.{i}", text) for i, text in enumerate(self.texts))
        yield from (("unet", self.unet), ("encoder", self.encoder), ("decoder", self.decoder))

    def state(self) -> dict[str, Tensor]:
        """Every tensor, under its full name."""
        return {
            f"{name}.{key}": tensor
            for name, module in self.modules()
            for key, tensor in module.state_dict().items()
        }


# --- writing ---


def save_native(
    parts: Parts, path: str | os.PathLike[str], *, dtype: torch.dtype = torch.float16, small: bool = False
) -> None:
    """Write the model whole or not at all, its numbers rounded to `dtype`.

    `small`: the weights of U-Net and text encoders as bytes: each row has 127 steps to either side of zero
    Raises: StorageError; WeightsError if a number does not fit into `dtype`
    """
    target, tensors = Path(path), dict[str, Tensor]()
    for name, tensor in parts.state().items():
        if small and name.startswith(SMALL) and name.endswith(f".{WEIGHT}") and tensor.dim() > 1:
            tensors[name], tensors[f"{name}_scale"] = in_bytes(_rounded(name, tensor, torch.float32))
        else:
            tensors[name] = _rounded(name, tensor, dtype)
    header = {
        "format": WITH_BYTES if small else FORMAT,
        "spec": parts.spec.to_json(),
        "tokenizers": list(parts.tokenizers),
        "about": dict(parts.about),
    }
    metadata = {HEADER: json.dumps(header, ensure_ascii=False, sort_keys=True)}
    with replacing(target) as part:
        try:
            save_file(tensors, part, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        part.chmod(PUBLIC)


def _rounded(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    rounded = tensor.detach().to("cpu", dtype).contiguous()
    if not rounded.isfinite().all():
        raise WeightsError(f"{name} holds numbers that are not finite as {dtype}", hint="save as float32")
    return rounded


# --- reading ---


def load_native(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    sha256: str | None = None,
) -> Parts:
    """Read what `save_native` wrote, ready to draw: on `device`, in `dtype`, needing no gradients.

    Raises: StorageError if it cannot be read; WeightsError if anything is damaged, missing or left over,
            or if the file's SHA-256 is not the one given
    """
    source = Path(path)
    found = _digest(source)
    if sha256 is not None and found != sha256:
        problem = f"{source.name} is damaged: its SHA-256 is {found[:12]}…, not {sha256[:12]}…"
        raise WeightsError(problem)
    try:
        file: Any = safe_open(source, framework="pt")
        with file:
            header = read_header(source.name, file.metadata())
            about = (header["tokenizers"], header["about"], lambda: found)
            parts = skeleton(source.name, header["spec"], *about)
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            shapes = {key: tuple(each.get_shape()) for key, each in slices.items()}
            dtypes = {key: TYPES.get(each.get_dtype(), torch.bool) for key, each in slices.items()}
            scaling = find_scaling(shapes, dtypes, {}, file.get_tensor)
            compare(source.name, {key: shapes[key] for key in shapes.keys() - scaling.gone}, parts)
            if bare := [key for key, kind in dtypes.items() if kind == INT8 and key not in scaling.scales]:
                said = f"{bare[0]!r} in {source.name} is in bytes, and its scale is missing"
                raise WeightsError(said, hint=ALL_OF_THEM)
            for name, module in parts.modules():
                keys = module.state_dict()
                state = {key: scaling.read(file.get_tensor, source.name, f"{name}.{key}") for key in keys}
                # copied: a view breaks when the file is cut short, and its address alters the rounding. Ours
                # are small, and what they draw is promised to the last bit; foreign.py maps what is large.
                state = {key: tensor.to(device, dtype, copy=True) for key, tensor in state.items()}
                module.load_state_dict(state, strict=True, assign=True)
                module.eval().requires_grad_(False)
    except SafetensorError as error:
        raise WeightsError(f"{source.name} is damaged: {error}", hint="copy or download it again") from error
    return parts


def _digest(source: Path) -> str:
    try:
        with source.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"cannot read {source}: {error.strerror}") from error


def read_header(name: str, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """What our files say of themselves: spec, tokenizers, about.  Raises: WeightsError"""
    if HEADER not in (metadata or {}):
        raise WeightsError(f"{name} is a safetensors file, but not a fromnoise model")
    try:
        header = json.loads((metadata or {})[HEADER])
        made_by = header["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"the header of {name} is damaged: {error}") from error
    if made_by not in (FORMAT, WITH_BYTES):
        problem = f"{name} has format {brief(made_by)}, not {FORMAT} or {WITH_BYTES}"
        raise WeightsError(problem, hint="update fromnoise to read it")
    if CHECKER in header:
        raise WeightsError(f"{name} cannot draw: {IS_CHECKER}", hint=FOR_CHECKERS)
    if lost := MUST_BE.keys() - header.keys():
        raise WeightsError(f"the header of {name} is damaged: it lacks {min(lost)!r}")
    if odd := [key for key, kind in MUST_BE.items() if not isinstance(header[key], kind)]:
        raise WeightsError(f"the header of {name} is damaged: its {odd[0]!r} is of the wrong type")
    return cast(dict[str, Any], header)


class Uninitialised(TorchFunctionMode):
    """Networks built under it skip `torch.nn.init`, which without memory would import all of sympy."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":  # some built-ins have none
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def skeleton(
    name: str,
    spec: ModelSpec | Mapping[str, Any],
    tokenizers: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    digest: Callable[[], str],
) -> Parts:
    """Networks without memory, waiting for their tensors.  Raises: WeightsError if the spec builds none"""
    try:
        spec = spec if isinstance(spec, ModelSpec) else ModelSpec.from_json(spec)
        with torch.device("meta"), Uninitialised():
            return Parts.blank(spec, tokenizers=tuple(tokenizers), about=about, digest=digest)
    except Exception as error:  # whatever a false spec trips over
        why, hint = (error.message, error.hint) if isinstance(error, SpecError) else (shown(str(error)), "")
        problem = f"the header of {name} describes no model we can build: {why}"
        raise WeightsError(problem, hint=hint) from error


def compare(name: str, found: Mapping[str, tuple[int, ...]], parts: Parts) -> None:
    """Refuse a file that does not hold exactly these tensors, each in its shape.  Raises: WeightsError"""
    wanted = {key: tuple(tensor.shape) for key, tensor in parts.state().items()}
    for problem, keys in (
        ("lacks {} of {} tensors", sorted(wanted.keys() - found)),
        ("holds {} tensors that its spec has no place for", sorted(found.keys() - wanted)),
    ):
        if keys:
            said = f"{name} {problem.format(len(keys), len(wanted))}, first: {keys[0]!r}"
            raise WeightsError(said, hint=ALL_OF_THEM)
    for key, shape in wanted.items():
        if found[key] != shape:
            said = f"{key!r} in {name} has the shape {found[key]}, not {shape}"
            raise WeightsError(said, hint=ALL_OF_THEM)
