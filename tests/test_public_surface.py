import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fromnoise

HEAVY = ["torch", "PIL", "click", "numpy", "safetensors", "jaxtyping", "rich", "regex"]

QUIET = """
import os, sys
class Spy(dict):
    def __getitem__(self, key): raise AssertionError(f"read {key} from the environment")
    get = __contains__ = __getitem__
os.environ = os.environb = Spy()
def listen(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        raise AssertionError(f"wrote {arguments[0]}")
    if event in ("os.mkdir", "socket.connect", "subprocess.Popen"):
        raise AssertionError(event)
sys.dont_write_bytecode = True
sys.addaudithook(listen)
import fromnoise
fromnoise.GenerateRequest(prompt="a house", sampler="euler")
print(sorted(set(sys.modules) & set(sys.argv[1:])))
"""


def test_importing_loads_nothing_heavy_reads_no_environment_and_writes_no_file() -> None:
    run = subprocess.run([sys.executable, "-c", QUIET, *HEAVY], capture_output=True, text=True, check=False)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


def test_every_public_name_is_there() -> None:
    assert len(fromnoise.__all__) <= 25
    assert sorted(fromnoise.__all__) == sorted(dir(fromnoise))
    assert all(getattr(fromnoise, name) is not None for name in fromnoise.__all__)


def test_late_names_are_the_real_ones() -> None:
    from fromnoise.loading import load
    from fromnoise.noise.samplers import SAMPLERS
    from fromnoise.pipeline import Pipeline

    assert (fromnoise.SAMPLERS, fromnoise.Pipeline, fromnoise.load) == (SAMPLERS, Pipeline, load)


def test_unknown_names_are_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = fromnoise.lode


def test_the_version_is_the_one_in_pyproject() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert fromnoise.__version__ == project["version"]
