#!/usr/bin/env python3
"""Writes stops.json and the tokenizers beside this script: where transformers' generate() ends the
golden models' replies under `stop_strings`, with one beam and with three.

    python3 make_stops.py GOLDENS/models

Run with PyPI's torch 2.15, transformers 5.23 and tokenizers. The prompt has none of the reply's
letters: transformers looks for a stop string in prompt and reply together, quern in the reply."""

import json
import pathlib
import string

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig,
                          PreTrainedTokenizerFast)

from golden import load, reply_of, start_token, write_rows

HERE = pathlib.Path(__file__).parent
MODELS = {"llama3": AutoModelForCausalLM, "gpt2": AutoModelForCausalLM,
          "bart": AutoModelForSeq2SeqLM}
NEW = 24
SPECIAL = "<|done|>"
TEXT = ["the mill stone turns and the miller sleeps in the meal", "a stone in the stream",
        "quick foxes jump over lazy dogs while bakers wait for flour", "every good boy does fine",
        "pack my box with five dozen jugs of liquid yeast"] * 2


def tokenizer(size):
    """Byte-level BPE of exactly `size` tokens, the first of which is a control token."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[SPECIAL], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(TEXT, trainer)
    assert tok.get_vocab_size() == size, tok.get_vocab_size()
    return tok


def generate(model, tok, prompt, stops, beams, banned, bias=None):
    config = GenerationConfig(
        num_beams=beams, do_sample=False, max_new_tokens=NEW, eos_token_id=None, pad_token_id=0,
        decoder_start_token_id=start_token(model),
        stop_strings=stops, suppress_tokens=banned,
        sequence_bias=[[list(ids), by] for ids, by in bias] if bias else None)
    return reply_of(model, prompt, config, tokenizer=tok)


@torch.no_grad()
def make(name, loader):
    model = load(name, loader)
    size = model.config.vocab_size
    raw = tokenizer(size)
    raw.save(str(HERE / f"stops_{size}.json"))
    tok = PreTrainedTokenizerFast(tokenizer_object=raw)
    shown = set(string.ascii_lowercase + " ")
    texts = [raw.decode([i]) for i in range(size)]
    # Letters alone, and the control token in one case; no bytes that are half a character.
    banned = [i for i in range(1, size) if not set(texts[i]) <= shown or not texts[i]]
    digits = [i for i in range(size) if texts[i] in string.digits and texts[i]]
    prompt = [digits[i % len(digits)] for i in (3, 1, 4, 1, 5, 9, 2, 6)]
    plain = generate(model, tok, prompt, None, 1, banned + [0])
    text = tok.decode(plain)
    # Once the fourth token has come the control token is likely.
    done = [[[plain[3], 0], 60.0]]
    rows = []
    for stops, bias in [([text[4:7]], None), ([text[2:3]], None), ([text[9:14]], None),
                        (text[6:8], None), ([text[8:11], text[5:7], "zqzq"], None),
                        (["never, surely"], None), ([SPECIAL], done),
                        ([SPECIAL, text[1:3]], done), ([text[:1]], None)]:
        for beams in (1, 3):
            ids = generate(model, tok, prompt, stops, beams, banned + ([] if bias else [0]), bias)
            rows.append(dict(stop_strings=stops, sequence_bias=bias, beams=beams, ids=ids,
                             text=tok.decode(ids, skip_special_tokens=True)))
    return dict(model=name, vocab=size, prompt=prompt, start=start_token(model), new=NEW,
                banned=banned, replies=rows)


found = [make(name, loader) for name, loader in MODELS.items()]
write_rows(HERE / "stops.json", [json.dumps(row) for row in found])
for about in found:
    print(about["model"], [(len(r["ids"]), r["beams"], r["stop_strings"], r["text"])
                           for r in about["replies"]])
