"""A CUDA device as the few things that the engine asks of it; what is made of them is tested without one."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

WARM_UPS: Final = 3  # Source: torch's own examples of graphs; libraries choose their kernels meanwhile
TF32: Final = "tf32"  # torch's name for float32 of which products see 10 bits; its default for convolutions


@dataclass(frozen=True, eq=False)
class Card:
    """A graphics card."""

    device: torch.device
    ahead: Any = field(init=False)  # the stream on which weights arrive while another one calculates

    def __post_init__(self) -> None:
        object.__setattr__(self, "ahead", torch.cuda.Stream(self.device))

    @cached_property
    def pool(self) -> Any:
        """The memory that all graphs share; only one of them is ever running."""
        return torch.cuda.graph_pool_handle()

    def free(self) -> int:
        """Bytes that can be had: the driver's, and those that torch holds and nobody uses."""
        idle = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + idle

    # --- weights on their way ---

    def pinned(self, tensor: Tensor) -> Tensor:
        """A copy in the CPU's memory from which the card can read by itself."""
        return tensor.cpu().pin_memory()

    def fetched(self, tensor: Tensor) -> Tensor:
        """A copy on the card; from pinned memory, nobody waits for it."""
        return tensor.to(self.device, non_blocking=True)

    def on_ahead(self) -> AbstractContextManager[Any]:
        """What is asked for within this happens beside what the card calculates."""
        return torch.cuda.stream(self.ahead)

    def arrived(self) -> Any:
        """The moment when everything asked for ahead is there."""
        return self.ahead.record_event()

    def after(self, moment: Any) -> None:
        """What is calculated from here on begins after a moment."""
        torch.cuda.current_stream(self.device).wait_event(moment)

    def done(self) -> Any:
        """The moment when everything asked for so far is calculated."""
        return torch.cuda.current_stream(self.device).record_event()

    def wait(self, moment: Any) -> None:
        """Hold the program until a moment has come."""
        moment.synchronize()

    # --- graphs ---

    def warm_up(self, run: Callable[[], Tensor]) -> None:
        """Run a few times beside the usual stream, as recording asks for."""
        usual, beside = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        beside.wait_stream(usual)
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                run()
        usual.wait_stream(beside)

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """What plays a run again, and where its answer then is.

        Raises: RuntimeError if it cannot be recorded
        Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
        """
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(self.device),
            torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"),
        ):
            answer = run()
        return graph.replay, answer

    # --- settings ---

    @contextmanager
    def tuned(self) -> Generator[None]:
        """The fastest convolutions are looked for, float32 ones in float32; afterwards torch is as before.

        Products of matrices are left alone: of those torch rounds none to TF32 unless somebody tells it to.
        """
        cudnn: Any = torch.backends.cudnn
        search, convolve, recur = cudnn.benchmark, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
        cudnn.benchmark, cudnn.allow_tf32 = True, False
        try:
            yield
        finally:
            cudnn.allow_tf32 = convolve == TF32  # torch has two words for it, and refuses if they disagree
            cudnn.benchmark, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = search, convolve, recur
