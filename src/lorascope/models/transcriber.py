"""Whisper's decoder as a listener: what it writes down of an encoder's output, greedily, token by token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from ..errors import LorascopeError

START, END, PLAIN, TRANSCRIBE = "<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>", "<|transcribe|>"
#: Whisper's own vocabularies: those of its English models end earlier.
ENGLISH_ONLY = 51864


class Transcriber:
    """A decoder with its vocabulary.

    `decoder` is Hugging Face's `WhisperDecoder`; the scores of the next token are the products with its embeddings, as
    Whisper ties them. `suppressed` tokens are never written (Whisper's own list: symbols that stand for no speech), nor
    any special one; `suppressed_first` not as the first (a blank, the end).
    """

    def __init__(
        self, decoder: Any, vocabulary: Tokenizer, suppressed: Sequence[int] = (), suppressed_first: Sequence[int] = ()
    ) -> None:
        self._decoder, self._vocabulary = decoder.eval(), vocabulary
        self._end = self._id(END)
        size = int(decoder.embed_tokens.weight.shape[0])
        self.english_only = size <= ENGLISH_ONLY
        # half of the positions, as in openai-whisper: the other half is for what was said before
        self._longest = int(decoder.config.max_target_positions) // 2
        special = range(self._end + 1, size)
        self._never = torch.tensor(sorted({*suppressed, *special} & set(range(size)) - {self._end}), dtype=torch.long)
        self._first = torch.tensor(sorted({*suppressed_first} & set(range(size))), dtype=torch.long)

    @torch.no_grad()
    def transcribe(self, encoded: Tensor, languages: Sequence[str] | None = None) -> list[str]:
        """The text of each clip of an encoder's output [clips, frames, width] of its whole window.

        `languages` are codes as "de", one a clip; a decoder of English alone needs none. Raises `LorascopeError` for a
        language that the vocabulary has no token of.
        """
        prompts = [self._prompt(None if languages is None else languages[row]) for row in range(len(encoded))]
        self._decoder.to(encoded.device)
        tokens = torch.tensor(prompts, device=encoded.device)
        never, first = self._never.to(encoded.device), self._first.to(encoded.device)
        written: list[list[int]] = [[] for _ in prompts]
        ended = torch.zeros(len(prompts), dtype=torch.bool, device=encoded.device)
        known: Any = None
        for step in range(self._longest):
            scores, known = self._scores(tokens, encoded, known)
            scores[:, never] = -torch.inf
            if step == 0:
                scores[:, first] = -torch.inf
            tokens = torch.where(ended, self._end, scores.argmax(dim=-1))[:, None]
            ended |= tokens[:, 0] == self._end
            for row, token in enumerate(tokens[:, 0].tolist()):
                if token != self._end:
                    written[row].append(token)
            if bool(ended.all()):
                break
        return [self._vocabulary.decode(row, skip_special_tokens=True).strip() for row in written]

    def code(self, language: str) -> str | None:
        """A language's code in the vocabulary, of its code ("de", "de-DE") or English name; None where it has none."""
        lower = language.lower()
        code = TO_LANGUAGE_CODE.get(lower, re.split("[-_]", lower)[0])
        return None if self._vocabulary.token_to_id(f"<|{code}|>") is None else code

    @torch.no_grad()
    def languages_of(self, encoded: Tensor) -> list[str]:
        """The language that the decoder hears in each clip, as its code."""
        self._decoder.to(encoded.device)
        start = torch.full((len(encoded), 1), self._id(START), device=encoded.device)
        scores, _ = self._scores(start, encoded, None)
        # the languages' tokens lie between the start and the task
        tokens = list(range(self._id(START) + 1, self._id(TRANSCRIBE) - 1))
        heard = scores[:, tokens].argmax(dim=-1).tolist()
        return [str(self._vocabulary.id_to_token(tokens[index])).strip("<|>") for index in heard]

    def _scores(self, tokens: Tensor, encoded: Tensor, known: Any) -> tuple[Tensor, Any]:
        """Scores of the next token [clips, vocabulary], and what the decoder keeps of the tokens so far."""
        found = self._decoder(
            input_ids=tokens, encoder_hidden_states=encoded, past_key_values=known, use_cache=True, return_dict=True
        )
        return nn.functional.linear(found.last_hidden_state[:, -1], self._decoder.embed_tokens.weight), (
            found.past_key_values
        )

    def _prompt(self, language: str | None) -> list[int]:
        if self.english_only:
            return [self._id(START), self._id(PLAIN)]
        return [self._id(START), self._id(f"<|{language}|>"), self._id(TRANSCRIBE), self._id(PLAIN)]

    def _id(self, token: str) -> int:
        found = self._vocabulary.token_to_id(token)
        if found is None:
            raise LorascopeError(f"the decoder's vocabulary has no {token}, so it cannot be asked for a transcript")
        return int(found)
