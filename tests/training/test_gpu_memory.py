"""Where a GPU's memory is not enough one sentence says what helps; a CPU has no peak."""

import pytest
import torch

from flowers_tl.runs.record import RunFolder
from flowers_tl.training.gpu_memory import explain_out_of_memory, peak_memory_recorded
from flowers_tl.utils.errors import UserError

FULL = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 1.00 GiB.\n"
    "See documentation for Memory Management"
)


def test_too_little_memory_is_one_sentence_with_a_remedy():
    with pytest.raises(UserError) as refusal, explain_out_of_memory("take fewer images"):
        raise torch.OutOfMemoryError(FULL)
    reason = "CUDA out of memory. Tried to allocate 20.00 MiB"
    assert str(refusal.value) == f"The GPU has too little memory ({reason}): take fewer images."


def test_other_errors_are_left_as_they_are():
    with pytest.raises(RuntimeError, match=r"^mat1 and mat2$"), explain_out_of_memory("take fewer images"):
        raise RuntimeError("mat1 and mat2")


def test_a_run_on_a_cpu_has_no_peak_though_it_fails(tmp_path):
    run = RunFolder(tmp_path / "run", "seed: 0\n")
    memory = peak_memory_recorded(run, torch.device("cpu"), 32)
    with pytest.raises(UserError, match=r"data\.batch_size than 32 "), run, memory:
        raise torch.OutOfMemoryError(FULL)
    assert run.result["peak_memory_gb"] is None
