"""A GPU's memory: what a run takes of it at most, and one sentence where it is not enough."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from flowers_tl.runs.record import RunFolder
from flowers_tl.utils.errors import UserError, first_line


@contextmanager
def explain_out_of_memory(remedy: str) -> Iterator[None]:
    """Raise UserError with ``remedy``, a clause in the imperative, where a GPU's memory is not enough."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        # The rest of PyTorch's message is about its allocator.
        reason = ". ".join(first_line(error).split(". ")[:2])
        raise UserError(f"The GPU has too little memory ({reason.rstrip('.')}): {remedy}.") from None


def describe_device(device: torch.device) -> str:
    """What computes: the GPU's name, or the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextmanager
def peak_memory_recorded(run: RunFolder, device: torch.device, batch_size: int) -> Iterator[None]:
    """Record as ``peak_memory_gb`` what a run's tensors take of its GPU at most, in 10**9 bytes; null on a CPU.

    Args:
        run: whose record gets it.
        device: of this process.
        batch_size: images a step, over all devices.

    Raises:
        UserError: if the GPU's memory is not enough.
    """
    on_gpu = device.type == "cuda"
    if on_gpu:
        # Before the first use PyTorch has nothing to reset, and says so by an error.
        torch.cuda.init()
        # An earlier run in this process, which may have failed for want of memory, leaves circles of references.
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        with explain_out_of_memory(
            f"use a smaller data.batch_size than {batch_size} (trainer.accumulate_grad_batches=N adds up the "
            "gradients of N steps), or trainer.precision=bf16-mixed"
        ):
            yield
    finally:
        peak = torch.cuda.max_memory_allocated(device) / 1e9 if on_gpu else None
        run.result["peak_memory_gb"] = peak and round(peak, 3)
