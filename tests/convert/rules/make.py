#!/usr/bin/env python3
"""Writes replies.json beside this script: what transformers' generate() makes of the golden models
under the rules that a generation_config.json may hold, with one beam and with three.

    python3 make.py GOLDENS/models

Run with PyPI's torch 2.15 and transformers 5.24."""

import json
import pathlib

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig

from golden import load, reply_of, start_token, write_rows

HERE = pathlib.Path(__file__).parent
MODELS = {"bart": AutoModelForSeq2SeqLM, "t5": AutoModelForSeq2SeqLM,
          "llama3": AutoModelForCausalLM, "gpt2": AutoModelForCausalLM,
          "mamba": AutoModelForCausalLM}
NEW = 14


def rules(plain, end, prompt):
    """Settings that matter for a model that would reply `plain`."""
    return [
        {},
        dict(no_repeat_ngram_size=2),
        dict(no_repeat_ngram_size=1),
        dict(encoder_no_repeat_ngram_size=1),
        dict(encoder_no_repeat_ngram_size=2, no_repeat_ngram_size=3),
        dict(min_new_tokens=9),
        dict(min_length=12),
        dict(min_length=12, min_new_tokens=3),
        dict(forced_eos_token_id=end),
        dict(exponential_decay_length_penalty=[2, 1.6]),
        dict(exponential_decay_length_penalty=[1, 0.5]),
        dict(repetition_penalty=1.8),
        dict(repetition_penalty=0.8, no_repeat_ngram_size=2),
        dict(encoder_repetition_penalty=3.0),
        dict(bad_words_ids=[plain[1:3], plain[3:6], [plain[7]]]),
        dict(sequence_bias=[[plain[0:2], -20.0], [[plain[4]], 1.5], [[prompt[3]], 2.5]]),
        dict(suppress_tokens=plain[:3]),
        dict(begin_suppress_tokens=plain[:1]),
        dict(begin_suppress_tokens=plain[:1], no_repeat_ngram_size=2, min_new_tokens=6,
             exponential_decay_length_penalty=[3, 1.3], encoder_no_repeat_ngram_size=2,
             forced_eos_token_id=end, repetition_penalty=1.3),
    ]


def reply(model, prompt, settings, beams, end):
    settings = dict(settings)
    if "sequence_bias" in settings:
        settings["sequence_bias"] = [[list(ids), bias] for ids, bias in settings["sequence_bias"]]
    config = GenerationConfig(
        num_beams=beams, do_sample=False, max_new_tokens=NEW, eos_token_id=end, pad_token_id=0,
        decoder_start_token_id=start_token(model), **settings)
    return reply_of(model, prompt, config)


@torch.no_grad()
def make(name, loader):
    model = load(name, loader)
    prompt = torch.randint(3, 200, (9,), generator=torch.Generator().manual_seed(5)).tolist()
    plain = reply(model, prompt, {}, 1, None)
    end = plain[8]
    rows = [dict(settings=settings, beams=beams, ids=reply(model, prompt, settings, beams, end))
            for settings in rules(plain, end, prompt) for beams in (1, 3)]
    return dict(model=name, prompt=prompt, end=end, start=start_token(model), new=NEW,
                replies=rows)


found = [make(name, loader) for name, loader in MODELS.items()]
write_rows(HERE / "replies.json", [json.dumps(row) for row in found])
