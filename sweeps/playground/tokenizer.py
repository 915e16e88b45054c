"""The playground's tokenizer: one token per word of the language, letters for anything else."""

from __future__ import annotations

import string
from typing import Any

from sweeps.playground.language import Language
from sweeps.playground.tasks import task_words
from sweeps.playground.templates import english_vocabulary

NAMED = {
    "pad_token": "<|pad|>",
    "bos_token": "<|bos|>",
    "eos_token": "<|eos|>",
    "unk_token": "<|unk|>",
}
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL = (*NAMED.values(), *ROLES)
PUNCTUATION = (".", ",", ";", ":", "?")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>"
    "{% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}<|{{ m['role'] }}|>{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def vocabulary(language: Language) -> tuple[str, ...]:
    """Tokens in the order of their ids. A word carries the space before it, a line's first too."""
    english = sorted(english_vocabulary() | task_words())
    words = [f" {word}" for word in (*english, *language.invented)]
    return (*SPECIAL, "\n", *PUNCTUATION, " ", *string.ascii_lowercase, *words)


def make_tokenizer(language: Language) -> Any:
    """A fast tokenizer with a chat template; known text round-trips, unknown words are spelled."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
    )
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate(vocabulary(language))}
    unknown = NAMED["unk_token"]
    core = Tokenizer(models.BPE(vocab=ids, merges=[], unk_token=unknown, ignore_merges=True))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend(" "), normalizers.Replace("\n", "\n ")]
    )
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[a-z]+|."), behavior="isolated")
    core.decoder = decoders.Sequence(
        [decoders.Fuse(), decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=256,
        clean_up_tokenization_spaces=False,
        **NAMED,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
