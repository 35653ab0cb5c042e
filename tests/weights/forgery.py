"""Checkpoints made by hand, byte by byte: what no honest program writes."""

import io
import zipfile
from pathlib import Path
from struct import pack

START, STOP = b"\x80\x02", b"."
MAGIC = START + b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
HEADER = MAGIC + START + b"M\xe9\x03." + START + b"}(X\x0d\0\0\0little_endian\x88u."


def text(words: str) -> bytes:
    return b"X" + pack("<L", len(words.encode())) + words.encode()


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + pack("<l", value)
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


def storage(key: str = "0", count: int = 4, kind: str = "FloatStorage", more: bytes = b"") -> bytes:
    return (
        b"(" + text("storage") + named("torch", kind) + text(key) + text("cpu") + number(count) + more + b"tQ"
    )


def tensor(
    shape: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,), offset: int = 0, held: bytes | None = None
) -> bytes:
    parts = held or storage(), number(offset), numbers(*shape), numbers(*stride), b"\x89", b"N"
    return called("torch._utils", "_rebuild_tensor_v2", *parts)


def table(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def pickled(value: bytes) -> bytes:
    return START + value + STOP


def zipped(pickle: bytes, **entries: bytes) -> bytes:
    """An archive such as PyTorch writes; `entries` are further ones, `_` standing for `/`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickle)
        file.writestr("archive/data/0", pack("<4f", 0, 1, 2, 3))
        for name, data in entries.items():
            file.writestr(f"archive/{name.replace('_', '/')}", data)
    return buffer.getvalue()


def legacy(value: bytes, keys: tuple[str, ...] = ("0",), counts: tuple[int, ...] = (4,)) -> bytes:
    listed = START + b"](" + b"".join(map(text, keys)) + b"e."
    return HEADER + pickled(value) + listed + b"".join(pack("<Q", n) + bytes(16) for n in counts)


def touch(path: Path) -> bytes:
    """The text of a command that would betray itself."""
    return text(f"touch {path}")


def attacks(sentinel: Path) -> dict[str, bytes]:
    """Pickles that would run something, were they run: what they do, and how."""
    command = touch(sentinel)
    code = text(f"open({str(sentinel)!r}, 'w')")
    old = f"(S'touch {sentinel}'\n".encode()
    return {
        "os.system": called("os", "system", command),
        "posix.system": called("posix", "system", command),
        "nt.system": called("nt", "system", command),
        "builtins.eval": called("builtins", "eval", code),
        "builtins.exec": called("builtins", "exec", code),
        "__builtin__.eval": called("__builtin__", "eval", code),
        "subprocess.Popen": called("subprocess", "Popen", command),
        "pip.main": called("pip", "main", b"](" + text("install") + text("evil") + b"e"),
        "pkgutil.resolve_name": called("pkgutil", "resolve_name", text("os:system")) + b"(" + command + b"tR",
        "builtins.getattr": called("builtins", "getattr", named("os", "path"), text("os")),
        "os.path.os.system": called("os", "path.os.system", command),
        "torch._utils._rebuild_tensor_v2.__globals__": called(
            "torch._utils", "_rebuild_tensor_v2.__globals__", b""
        ),
        "torch.load": called("torch", "load", command),
        "torch.hub.load": called("torch.hub", "load", command),
        "runpy._run_code": called("runpy", "_run_code", code),
        "importlib.import_module": called("importlib", "import_module", text("antigravity")),
        "collections.namedtuple": called("collections", "namedtuple", text("a")),
        "operator.attrgetter": called("operator", "attrgetter", text("system")),
        "functools.partial": called("functools", "partial", named("os", "system"), command),
        "webbrowser.open": called("webbrowser", "open", text("http://127.0.0.1:9")),
        "socket.create_connection": called("socket", "create_connection", b""),
        "shutil.rmtree": called("shutil", "rmtree", text("/nonexistent")),
        "numpy.testing._private.utils.runstring": called("numpy.testing._private.utils", "runstring", code),
        "asyncio.unix_events._UnixSubprocessTransport._start": called(
            "asyncio.unix_events", "_UnixSubprocessTransport._start", b""
        ),
        "pickle.loads": called("pickle", "loads", b"C\x01."),
        "a name from the stack": text("os") + text("system") + b"\x93(" + command + b"tR",
        "the instruction INST": old + b"ios\nsystem\n",
        "the instruction OBJ": b"(" + named("os", "system") + command + b"o",
        "the instruction EXT1": b"\x82\x01",
        "the instruction PERSID": b"Pos.system\n",
        "the instruction NEWOBJ_EX": named("builtins", "object") + b")}\x92",
    }


def frauds() -> dict[str, tuple[bytes, str]]:
    """Pickles that lie about sizes or abuse what is allowed, and what is said of them."""
    many = b"".join(b"}q" + bytes([i]) + b"(" + twice(i - 1) + b"u" for i in range(1, 31))
    return {
        "a storage of another size": (tensor(held=storage(count=5)), "20 bytes; it has 16"),
        "a storage that is not there": (tensor(held=storage("7")), "it has 0"),
        "a storage of a negative size": (tensor(held=storage(count=-4)), "no storage"),
        "a storage of 2^63 numbers": (tensor(held=storage(count=2**63)), "it has 16"),
        "a storage with a path for a key": (tensor(held=storage("../0")), "no storage"),
        "a storage within a storage": (tensor(held=storage(more=numbers(0, 1))), "no storage"),
        "a storage of two types": (
            b"(" + tensor() + storage(kind="IntStorage") + b"t",
            "two different things",
        ),
        "a reference to code": (called("torch._utils", "_rebuild_tensor_v2", text("x") + b"Q"), "no storage"),
        "a shape of 2^63": (tensor((2**63,)), "impossible size"),
        "a shape whose product is 2^64": (tensor((2**32, 2**32), (1, 1)), "impossible size"),
        "a shape of zeros and 2^62": (tensor((0, 2**62, 2**62), (1, 1, 1)), "impossible size"),
        "a negative shape": (tensor((-4,)), "impossible shape"),
        "a negative stride": (tensor(stride=(-1,), offset=3), "impossible shape"),
        "a negative offset": (tensor((2,), offset=-2), "impossible shape"),
        "an offset beyond the end": (tensor((1,), offset=4), "larger than the 4 numbers"),
        "an offset of 2^63": (tensor((1,), offset=2**63), "larger than the 4 numbers"),
        "a stride beyond the end": (tensor((2,), (4,)), "larger than the 4 numbers"),
        "a stride of 2^63": (tensor((2,), (2**63,)), "larger than the 4 numbers"),
        "2^40 copies by stride 0": (tensor((2**40,), (0,)), "larger than the 4 numbers"),
        "three copies by stride 0": (tensor((3,), (0,)), "expanded"),
        "a shape without strides": (tensor((4, 1)), "impossible shape"),
        "nine dimensions": (tensor((1,) * 9, (1,) * 9), "impossible shape"),
        "a shape that is a tensor": (called("torch._utils", "_rebuild_tensor_v2", storage()), "no sense"),
        "a parameter of nothing": (called("torch._utils", "_rebuild_parameter", b"N"), "no sense"),
        "a sparse tensor": (called("torch._utils", "_rebuild_sparse_tensor"), "sparse"),
        "a quantised tensor": (called("torch._utils", "_rebuild_qtensor"), "quantised"),
        "a quantised storage": (tensor(held=storage(kind="QInt8Storage")), "quantised"),
        "an item of a tensor": (tensor() + number(0) + number(7) + b"s", "sets an item"),
        "an item of a storage": (storage() + number(0) + number(7) + b"s", "sets an item"),
        "a key without a value": (b"}(" + text("x") + b"u", "sets an item"),
        "a state for a tensor": (tensor() + b"}b", "gives a state"),
        "an element of a dictionary": (b"}" + number(1) + b"a", "appends"),
        "a call of a tensor": (tensor() + b")R", "without a name"),
        "a call of a text": (text("os.system") + b")R", "without a name"),
        "a call without a tuple": (named("collections", "OrderedDict") + b"}R", "without a name"),
        "a name made of numbers": (number(1) + number(2) + b"\x93", "not a text"),
        "an empty stack": (b"0", "damaged"),
        "a mark that is missing": (b"t", "damaged"),
        "a memo that is missing": (b"h\x05", "damaged"),
        "text that is not UTF-8": (b"X\x01\0\0\0\xff", "damaged"),
        "a text of 2^60 bytes": (b"\x8d" + pack("<Q", 2**60), "a text of"),
        "a text beyond the end": (b"X" + pack("<L", 1 << 20), "cut short"),
        "a name without an end": (b"c" + b"x" * 1000, "no end"),
        "a billion laughs": (b"}q\0(" + text("t") + tensor() + b"u" + many, "without end"),
        "a dictionary in itself": (b"}q\0(" + text("x") + b"h\0" + text("y") + b"h\0u", "without end"),
        "a dictionary that is all of itself": (b"}q\0(" + text("x") + b"h\0u", "without end"),
        "100,000 nested tuples": (b")" + b"\x85" * 100_000, "no tensors"),
        "a million steps": (b"N" * 1_000_001, "more than 1,000,000 steps"),
        "a list that is read again and again": (
            b"](" + b"N" * 9000 + b"eq\x000" + (named("collections", "OrderedDict") + b"h\0\x85R0") * 300,
            "more than 1,000,000 steps",
        ),
        "two tensors of one name": (
            b"}(" + text("a.b") + tensor() + text("a") + table(b=tensor()) + text("c") + b"Nu",
            "of one name",
        ),
        "a bare tensor": (tensor(), "no tensors by name"),
        "no tensors": (table(a=number(1), b=b"N"), "no tensors by name"),
    }


def twice(index: int) -> bytes:
    """The value in the memo under two keys."""
    return text("a") + b"h" + bytes([index]) + text("b") + b"h" + bytes([index])


def write_large(path: Path, pickle: bytes, sizes: dict[str, int]) -> dict[str, int]:
    """An archive of more than 4 GiB that takes no space on the disk: where each storage begins."""
    with path.open("wb") as file:
        directory, starts = b"", dict[str, int]()
        for name, size in {"data.pkl": len(pickle), **sizes}.items():
            full, at = f"x/{name}".encode(), file.tell()
            file.write(b"PK\3\4" + pack("<5H3L2H", 45, 8, 0, 0, 0, 0, 0, 0, len(full), 0) + full)
            starts[name] = file.tell()
            if name == "data.pkl":
                file.write(pickle)
            file.seek(starts[name] + size)
            extra = pack("<2H3Q", 1, 24, size, size, at)
            directory += b"PK\1\2" + pack("<6H", 45, 45, 8, 0, 0, 0) + pack("<L", 0) + b"\xff" * 8
            directory += (
                pack("<5H", len(full), len(extra), 0, 0, 0) + pack("<L", 0) + b"\xff" * 4 + full + extra
            )
        at, count = file.tell(), len(starts)
        file.write(directory)
        end = file.tell()
        file.write(b"PK\6\6" + pack("<Q2H2L4Q", 44, 45, 45, 0, 0, count, count, len(directory), at))
        file.write(b"PK\6\7" + pack("<LQL", 0, end, 1))
        file.write(b"PK\5\6" + pack("<4H", 0, 0, count, count) + pack("<2LH", len(directory), 0xFFFFFFFF, 0))
    return starts
