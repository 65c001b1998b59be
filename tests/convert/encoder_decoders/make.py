#!/usr/bin/env python3
"""Makes the checkpoints beside this script: one tiny encoder–decoder of each class that
../shared/goldens does not have, with transformers' own hidden states, logits and beam searches.

Run with PyPI's torch 2.15 and transformers 5.23: python3 make.py"""

import json
import pathlib

import torch
import transformers
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
VOCAB, DIM = 40, 16
BART = dict(
    vocab_size=VOCAB, d_model=DIM, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=24,
    decoder_ffn_dim=20, encoder_attention_heads=4, decoder_attention_heads=2,
    max_position_embeddings=32, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    decoder_start_token_id=2, forced_eos_token_id=None, dropout=0.0, init_std=0.3)
T5 = dict(
    vocab_size=VOCAB, d_model=DIM, d_kv=6, d_ff=24, num_layers=2, num_decoder_layers=2, num_heads=3,
    relative_attention_num_buckets=8, relative_attention_max_distance=12, dropout_rate=0.0,
    pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
CASES = {
    "mbart": ("MBartForConditionalGeneration", "MBartConfig", BART | dict(scale_embedding=True)),
    "marian": ("MarianMTModel", "MarianConfig",
               BART | dict(activation_function="swish", scale_embedding=True)),
    "marian_apart": ("MarianMTModel", "MarianConfig",
                     BART | dict(share_encoder_decoder_embeddings=False, decoder_vocab_size=33,
                                 tie_word_embeddings=False)),
    "pegasus": ("PegasusForConditionalGeneration", "PegasusConfig",
                BART | dict(activation_function="relu")),
    "mt5": ("MT5ForConditionalGeneration", "MT5Config", T5),
    "umt5": ("UMT5ForConditionalGeneration", "UMT5Config", T5 | dict(feed_forward_proj="relu")),
    "t5_encoder": ("T5EncoderModel", "T5Config", T5 | dict(feed_forward_proj="gated-silu")),
}
SEARCHES = [
    dict(num_beams=3),
    dict(num_beams=4, length_penalty=0.0),
    dict(num_beams=4, length_penalty=2.5),
    dict(num_beams=3, early_stopping=True),
    dict(num_beams=3, no_repeat_ngram_size=2),
    dict(num_beams=2, min_new_tokens=5),
]


def randomise(model):
    """Weights of a size that makes every part of the model count."""
    generator = torch.Generator().manual_seed(7)
    for name, tensor in model.state_dict().items():
        if "embed_positions" in name and "arian" in type(model).__name__:
            continue
        if "embed_positions" in name and "egasus" in type(model).__name__:
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            tensor.copy_(1 + 0.2 * noise)
        else:
            tensor.copy_(noise * (1.2 / DIM**0.5 if tensor.dim() == 2 else 0.2))


def beam_searches(model, source):
    """Each search by its settings; the end is a token that comes in the middle of a reply."""
    plain = model.generate(source, num_beams=3, max_new_tokens=12, do_sample=False, eos_token_id=None)
    end = plain[0, 6].item()
    found = []
    for settings in SEARCHES:
        out = model.generate(
            source, max_new_tokens=12, do_sample=False, eos_token_id=end,
            num_return_sequences=settings["num_beams"], return_dict_in_generate=True,
            output_scores=True, **settings)
        found.append(dict(
            settings=settings, scores=out.sequences_scores.tolist(),
            sequences=[row[1:].tolist() for row in out.sequences]))
    return end, found


@torch.no_grad()
def make(name, class_name, config_name, settings):
    folder = HERE / name
    config = getattr(transformers, config_name)(**settings)
    model = getattr(transformers, class_name)(config).eval()
    randomise(model)
    folder.mkdir(exist_ok=True)
    model.save_pretrained(folder)
    model = getattr(transformers, class_name).from_pretrained(folder).eval()
    generator = torch.Generator().manual_seed(11)
    source = torch.randint(3, 33, (1, 13), generator=generator)
    tensors = {"input_ids": source[0]}
    about = {"class": class_name}
    if name == "t5_encoder":
        tensors["last_hidden_state"] = model(source).last_hidden_state[0]
    else:
        target = torch.randint(3, 33, (1, 9), generator=generator)
        out = model(input_ids=source, decoder_input_ids=target)
        tensors |= {"decoder_input_ids": target[0],
                    "encoder_last_hidden_state": out.encoder_last_hidden_state[0],
                    "logits": out.logits[0]}
        about["end_token"], about["searches"] = beam_searches(model, source)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "golden.safetensors")
    (folder / "golden.json").write_text(json.dumps(about, indent=1) + "\n")


for case, (cls, cfg, values) in CASES.items():
    make(case, cls, cfg, values)
