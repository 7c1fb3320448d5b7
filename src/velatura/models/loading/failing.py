"""Why a library could not load a network, in a few words."""

from __future__ import annotations

import pickle

from velatura.errors import short_reason

MORE_THAN_TENSORS = "it holds more than tensors, which could run code"


def load_reason(error: BaseException) -> str:
    """What an error, or what it came of, says: that a pickle was refused or a file is damaged, else the first line, cut
    between words.
    """
    chain: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in chain:
        chain.append(each)
        each = each.__cause__ or each.__context__
    if any(is_refused_pickle(each) for each in chain):
        return MORE_THAN_TENSORS
    if any(type(each).__name__ == "SafetensorError" for each in chain):
        return "a .safetensors file of its weights is damaged, so get it again"
    return short_reason(error) if isinstance(error, Exception) else type(error).__name__


def is_refused_pickle(error: BaseException) -> bool:
    """Whether torch refused a pickle because of what it holds beside tensors."""
    told = str(error)
    return "weights_only" in told or "Weights only load" in told or isinstance(error, pickle.UnpicklingError)
