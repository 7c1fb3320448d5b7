"""The house tokenizer: CLIP's byte-level BPE with a small vocabulary learned from the captions."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import CLIPTokenizer

PROMPT_LENGTH = 24
START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"


def build_tokenizer(texts: Iterable[str], vocabulary_size: int = 3000) -> CLIPTokenizer:
    """A CLIPTokenizer of all bytes, so that it can tokenise any text, and of the merges most frequent in ``texts``."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    base = letters + [letter + WORD_END for letter in letters]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - len(letters) - 2,
        initial_alphabet=letters,
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    learner = Tokenizer(BPE(end_of_word_suffix=WORD_END))
    # The same pieces that CLIPTokenizer cuts, so that every merge can be reached.
    learner.pre_tokenizer = CLIPTokenizer().backend_tokenizer.pre_tokenizer
    learner.train_from_iterator((text.lower() for text in texts), trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    tokens = [*dict.fromkeys(base + ["".join(pair) for pair in merges]), START, END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=PROMPT_LENGTH)
