"""Weights that stay in their file: tensors without memory, whose numbers are read for each calculation.

What calculates often keeps its own form of them (engine/packing.py), and nothing else is held beside that.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Self, cast

import torch
from torch import Tensor

Read = Callable[[], Tensor]

# What is known of a tensor without its numbers
PROPERTIES: Final = (
    *("shape", "dtype", "device", "layout", "ndim", "nbytes", "itemsize", "requires_grad", "is_leaf", "grad"),
    *("grad_fn", "is_meta", "is_cpu", "is_cuda", "is_sparse", "is_quantized"),
)
METHODS: Final = (
    *("size", "dim", "numel", "element_size", "is_floating_point", "is_complex", "requires_grad_"),
    *("__len__", "__hash__"),
)
KNOWN: Final[frozenset[Any]] = frozenset(
    (
        *(getattr(Tensor, name).__get__ for name in PROPERTIES),
        *(getattr(Tensor, name) for name in METHODS),
        torch.is_floating_point,
    )
)


class Shelved(Tensor):
    """A tensor of known shape and type whose numbers are elsewhere; whatever is done with it reads them.

    In memory it is a single NaN, seen at every place. It cannot be written to: a layer that is to have other
    numbers is given another tensor. (Torch has a deeper hook for such tensors, at the price of importing
    all of sympy.)
    """

    read: Read

    def __new__(cls, read: Read, shape: torch.Size, dtype: torch.dtype) -> Self:
        """`read`: gives the numbers, in memory of their own."""
        with torch.inference_mode(False):
            blank = torch.full((), torch.nan, dtype=dtype).expand(shape)
            make: Any = Tensor._make_subclass  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
            made = make(cls, blank, False)
        made.read = read
        return made

    def __init__(self, read: Read, shape: torch.Size, dtype: torch.dtype) -> None:
        super().__init__()

    @torch.inference_mode(False)  # weights are no results of a drawing
    @torch.no_grad()
    def taken(self) -> Tensor:
        """The numbers, as an ordinary tensor."""
        return self.read()

    def __deepcopy__(self, memo: Any) -> Tensor:
        copy = Shelved(self.read, self.shape, self.dtype)
        is_parameter = isinstance(self, torch.nn.Parameter)
        return torch.nn.Parameter(copy, requires_grad=False) if is_parameter else copy

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs, own = dict(kwargs or {}), args[0] if args else None
        if func in KNOWN:
            return _below(func, args, kwargs)
        if func is Tensor.detach and isinstance(own, Shelved):
            return Shelved(own.read, own.shape, own.dtype)
        if func == SET_DATA and isinstance(own, Shelved):  # a network is cast, or moved
            other = _taken(args[1])
            own.read = lambda: other
            return _below(func, (own, other), kwargs)
        if func is Tensor.data_ptr:
            raise RuntimeError("a weight in its file has no address; take a .clone()")
        if "out" in kwargs or (isinstance(own, Shelved) and _writes(func.__name__)):
            raise RuntimeError(f"{func.__name__} would change weights in a file; give the layer new ones")
        args, kwargs = _taken(args), {name: _taken(each) for name, each in kwargs.items()}
        return func(*args, **kwargs)


SET_DATA: Final[Any] = cast(Any, Tensor.data).__set__


def is_shelved(network: torch.nn.Module) -> bool:
    """Are large weights of this network in their file?"""
    return any(isinstance(weight, Shelved) for weight in network.parameters())


def _below(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    disabled: Any = torch._C.DisableTorchFunctionSubclass  # pyright: ignore[reportPrivateUsage]
    with disabled():
        return func(*args, **kwargs)


def _writes(name: str) -> bool:
    """As torch names what works in place."""
    return (
        name in ("__setitem__", "__set__")
        or name.startswith("__i")
        or (name.endswith("_") and name[-2] != "_")
    )


def _taken(value: Any) -> Any:
    """The same with ordinary tensors in it."""
    if isinstance(value, Shelved):
        return value.taken()
    if isinstance(value, list | tuple):
        items = [_taken(each) for each in cast(Any, value)]
        return type(cast(Any, value))(items)
    return value
