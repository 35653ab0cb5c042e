"""What a checkpoint may name. None of it is imported: a few names make tensors and dicts, the rest nothing.

A name that is not here ends the reading. To allow one more class that people leave in their files, add it to
`INERT`: it will stand for nothing, and be reported as left out.
"""

from typing import Any, Final

from fromnoise.weights.pickles import Names, safe_key
from fromnoise.weights.storages import DTYPES, KINDS, parameter, tensor, tensor_of_type

PARAMETER_DICT: Final = ("torch.nn.modules.container", "ParameterDict")

PLAIN: Final = (
    "bytearray",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "object",
    "set",
    "tuple",
)
INERT: Final = {
    "builtins": (*PLAIN, "slice"),
    "__builtin__": PLAIN,  # as Python 2 called them
    "_codecs": ("encode",),
    "argparse": ("Namespace",),
    "copy_reg": ("_reconstructor",),
    "copyreg": ("_reconstructor",),
    "datetime": ("date", "datetime", "timedelta"),
    "numpy": ("dtype", "ndarray"),
    **{f"{package}.multiarray": ("_reconstruct", "scalar") for package in ("numpy.core", "numpy._core")},
    "pathlib": ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
    "torch": ("Size", "Tensor", "device", *DTYPES),
    "torch.nn.parameter": ("Parameter",),
    PARAMETER_DICT[0]: (PARAMETER_DICT[1],),
    "typing": ("Any",),
    "omegaconf.base": ("ContainerMetadata", "Metadata"),
    "omegaconf.dictconfig": ("DictConfig",),
    "omegaconf.listconfig": ("ListConfig",),
    "omegaconf.nodes": ("AnyNode", "BooleanNode", "FloatNode", "IntegerNode", "StringNode"),
    **{
        f"{package}.callbacks.{module}": names
        for package in ("pytorch_lightning", "lightning.pytorch")
        for module, names in {
            "early_stopping": ("EarlyStopping",),
            "lr_monitor": ("LearningRateMonitor",),
            "model_checkpoint": ("ModelCheckpoint",),
        }.items()
    },
}
DICTS: Final = (
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "Counter"),
    ("pytorch_lightning.utilities.parsing", "AttributeDict"),
    ("lightning.fabric.utilities.data", "AttributeDict"),
)
UNREADABLE: Final = {
    "_rebuild_sparse_tensor": "holds a sparse tensor, which is not read",
    "_rebuild_qtensor": "holds a quantised tensor, which is not read",
    "_rebuild_nested_tensor": "holds a nested tensor, which is not read",
    "_rebuild_meta_tensor_no_storage": "holds a tensor without numbers (meta)",
}
QUANTISED: Final = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")


def dictionary(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """A dict, also where the file asks for a kind of dict; Python 2 gives its items as a list of pairs."""
    match arguments:
        case ([*pairs],):
            return {safe_key(pair[0]): pair[1] for pair in pairs if isinstance(pair, list | tuple)}
        case _:
            return {}


NAMES: Final = Names(
    make={
        **{("torch._utils", name): tensor for name in ("_rebuild_tensor", "_rebuild_tensor_v2")},
        ("torch._utils", "_rebuild_tensor_v3"): tensor_of_type,
        **{
            ("torch._utils", name): parameter
            for name in ("_rebuild_parameter", "_rebuild_parameter_with_state")
        },
        **dict.fromkeys(DICTS, dictionary),
    },
    inert=frozenset(
        {(module, name) for module, names in INERT.items() for name in names}
        | {(kind.module, kind.name) for kind in KINDS}
    ),
    refused={
        **{("torch._utils", name): reason for name, reason in UNREADABLE.items()},
        **{("torch", name): UNREADABLE["_rebuild_qtensor"] for name in QUANTISED},
    },
)
