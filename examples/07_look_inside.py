"""Open the model: its parts, the shapes between them, and where each word of the prompt is looked for.

python examples/07_look_inside.py [MODEL.safetensors]
"""

import sys

import torch

import fromnoise as fn
from fromnoise.nets.blocks import TransformerBlock

PROMPT = "a red lighthouse on an island at sunset"
pipe = fn.load(*sys.argv[1:2])
(tokenizer, *_), (text_encoder, *_) = pipe.tokenizers, pipe.text_encoders
for part in (text_encoder, pipe.unet, pipe.encoder, pipe.decoder):
    print(f"{type(part).__name__:16} {sum(p.numel() for p in part.parameters()):>12,} numbers")

states = text_encoder(torch.tensor(tokenizer(PROMPT, context=text_encoder.spec.context).ids))
print("context", tuple(states.context.shape), "pooled", tuple(states.pooled.shape))

maps = []  # of every cross-attention in every step: (places, tokens)


def watch(attention, inputs, _):
    q, k = attention.to_q(inputs[0]), attention.to_k(inputs[1])  # (rows, places, D), (rows, tokens, D)
    q, k = (p.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for p in (q, k))
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    maps.append(weights.mean(1)[-1])  # over heads; the last row is the prompt's


for block in pipe.unet.modules():
    if isinstance(block, TransformerBlock):
        block.cross_attention.register_forward_hook(watch)
result = pipe(PROMPT, seed=1)
finest = torch.stack([m for m in maps if len(m) == max(map(len, maps))]).mean(0)
for place, token in enumerate(tokenizer.encode(PROMPT), start=1):  # place 0 is the start token
    print(f"{tokenizer.decode([token]):12} {100 * float(finest[:, place].mean()):5.1f} % of the attention")
