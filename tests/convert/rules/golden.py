"""What make.py and make_stops.py share: the golden models under no rule of their own."""

import pathlib
import sys

import torch
from transformers import GenerationConfig

GOLDENS = pathlib.Path(sys.argv[1])


def load(name, loader):
    """A golden model in float32 whose checkpoint asks for nothing when it replies."""
    model = loader.from_pretrained(GOLDENS / name, dtype=torch.float32).eval()
    model.generation_config = GenerationConfig()
    for key in ("forced_eos_token_id", "forced_bos_token_id"):
        if hasattr(model.config, key):
            setattr(model.config, key, None)
    return model


def start_token(model):
    """What a decoder begins with; a model without an encoder begins with its prompt."""
    return model.config.decoder_start_token_id if model.config.is_encoder_decoder else None


def reply_of(model, prompt, config, **more):
    """The new ids: behind the start token, or behind the prompt."""
    out = model.generate(torch.tensor([prompt]), generation_config=config, **more)[0].tolist()
    return out[1:] if model.config.is_encoder_decoder else out[len(prompt):]


def write_rows(path, rows):
    path.write_text("[\n" + ",\n".join(rows) + "\n]\n")
