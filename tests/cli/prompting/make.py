#!/usr/bin/env python3
"""Writes sums.json beside this script: the log-likelihoods that transformers gives to continuations
of texts, with the golden models, and its greedy replies to few-shot prompts.

    python3 make.py GOLDENS/models

Run with PyPI's torch 2.15, transformers 5.23 and tokenizers. The tokenizer is that of
tests/convert/rules (byte-level BPE). Of decoders, context and continuation are encoded as one text,
and what differs from the context's own ids is scored; of encoder-decoders the context is the source
and the continuation what the decoder says after its start token."""

import json
import pathlib
import sys

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

HERE = pathlib.Path(__file__).parent
GOLDENS = pathlib.Path(sys.argv[1])
TOKENIZER = Tokenizer.from_file(str(HERE / "../../convert/rules/stops_259.json"))
DECODERS = ["llama2", "gpt2", "qwen3_moe", "gemma3_text", "mamba"]
SEQ2SEQ = ["t5", "bart"]
EXAMPLES = "hot, cold.\nup, down.\n"  # A golden has 64 positions.
QUESTIONS = [("warm,", [" cool.", " warmer.", " 7"]),
             ("the mill", [" turns", "s turn slowly", "er", "! Ü"]),
             ("north, s", ["outh.", "tone"])]
NEW = 12


def ids_of(text):
    return TOKENIZER.encode(text, add_special_tokens=False).ids


def sum_of(model, prompt, behind):
    if model.config.is_encoder_decoder:
        start = [model.config.decoder_start_token_id] + behind
        logits = model(input_ids=torch.tensor([prompt]),
                       decoder_input_ids=torch.tensor([start])).logits[0]
        first = 1
    else:
        logits = model(input_ids=torch.tensor([prompt + behind])).logits[0]
        first = len(prompt)
    rows = torch.log_softmax(logits.double(), -1)
    return sum(rows[first - 1 + i, token].item() for i, token in enumerate(behind))


def split(model, context, continuation):
    before, whole = ids_of(context), ids_of(context + continuation)
    if model.config.is_encoder_decoder:
        return before, ids_of(continuation)
    assert whole[:len(before)] == before, (context, continuation)
    return before, whole[len(before):]


def greedy(model, prompt):
    start = [model.config.decoder_start_token_id] if model.config.is_encoder_decoder else []
    ids = list(start)
    for _ in range(NEW):
        if start:
            logits = model(input_ids=torch.tensor([prompt]),
                           decoder_input_ids=torch.tensor([ids])).logits
        else:
            logits = model(input_ids=torch.tensor([prompt + ids])).logits
        ids.append(int(logits[0, -1].argmax()))
    return ids[len(start):]


@torch.no_grad()
def make(name, loader):
    model = loader.from_pretrained(GOLDENS / name, dtype=torch.float32).eval()
    rows = []
    for context, continuations in QUESTIONS:
        parts = [split(model, EXAMPLES + context, text) for text in continuations]
        rows.append(dict(context=context, continuations=continuations,
                         sums=[sum_of(model, *part) for part in parts],
                         tokens=[len(part[1]) for part in parts],
                         reply=greedy(model, parts[0][0])))
    return dict(model=name, questions=rows)


found = [make(name, AutoModelForCausalLM) for name in DECODERS]
found += [make(name, AutoModelForSeq2SeqLM) for name in SEQ2SEQ]
(HERE / "sums.json").write_text(json.dumps(dict(examples=EXAMPLES, models=found), indent=1) + "\n")
