"""Text-to-image latent diffusion from scratch: `fromnoise.load()("a red lighthouse").save("out.png")`.

Importing this package imports neither torch nor Pillow: names are fetched when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fromnoise.errors import (
    FromNoiseError,
    NonFiniteError,
    OutOfMemory,
    RequestError,
    SpecError,
    StorageError,
    WeightsError,
)
from fromnoise.request import GenerateRequest, GenerateResult, Picture
from fromnoise.version import VERSION as __version__

if TYPE_CHECKING:
    from fromnoise.images.metadata import read_request
    from fromnoise.images.pixels import read_picture
    from fromnoise.loading import load
    from fromnoise.noise.samplers import SAMPLERS
    from fromnoise.pipeline import Pipeline

_LATE = {
    "Pipeline": "fromnoise.pipeline",
    "SAMPLERS": "fromnoise.noise.samplers",
    "load": "fromnoise.loading",
    "read_picture": "fromnoise.images.pixels",
    "read_request": "fromnoise.images.metadata",
}

__all__ = [
    "SAMPLERS",
    "FromNoiseError",
    "GenerateRequest",
    "GenerateResult",
    "NonFiniteError",
    "OutOfMemory",
    "Picture",
    "Pipeline",
    "RequestError",
    "SpecError",
    "StorageError",
    "WeightsError",
    "__version__",
    "load",
    "read_picture",
    "read_request",
]


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'fromnoise' has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)


def __dir__() -> list[str]:
    return __all__
