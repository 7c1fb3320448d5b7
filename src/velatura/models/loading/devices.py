"""Which device and number format a model runs in."""

from __future__ import annotations

import torch

from velatura.errors import SettingError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(wanted: str = "auto") -> torch.device:
    """``auto`` takes cuda, then mps, then cpu. Raises SettingError for a device this machine lacks."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise SettingError(f"The device '{wanted}' is not available here: use auto, cpu, cuda or mps.") from None
    return device


def _cpu_has_bf16() -> bool:
    """Whether the processor has bf16 instructions (AVX-512 BF16 or AMX); otherwise bf16 is emulated."""
    capable = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(capable())


def choose_dtype(device: torch.device, wanted: str | torch.dtype = "auto") -> torch.dtype:
    """Number format of the networks: ``auto`` is fp16 on cuda and mps, bf16 on a cpu that computes in it.

    Raises SettingError for an unknown name, and for fp16 on a cpu, which has no such arithmetic.
    """
    if isinstance(wanted, torch.dtype):
        wanted = next((name for name, dtype in DTYPES.items() if dtype == wanted), str(wanted))
    if wanted == "auto":
        if device.type != "cpu":
            return torch.float16
        return torch.bfloat16 if _cpu_has_bf16() else torch.float32
    if wanted not in DTYPES:
        raise SettingError(f"Unknown number format '{wanted}': use auto, {', '.join(DTYPES)}.")
    if wanted == "fp16" and device.type == "cpu":
        raise SettingError("fp16 does not run on a cpu: use --dtype bf16 or fp32.")
    return DTYPES[wanted]
