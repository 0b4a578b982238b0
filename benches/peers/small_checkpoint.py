"""A random Qwen2.5-VL in fp32 of the shape of workload W1 (the defaults) or W2, for generate_small.py and grpo_small.py.

usage: python benches/peers/small_checkpoint.py OUT
       python benches/peers/small_checkpoint.py OUT --hidden 512 --layers 12 --heads 8 --vdepth 4 --vhidden 256 \
           --max_pixels 401408
needs torch, transformers and pillow. The tokenizer is a small byte-level BPE with Qwen's special tokens.
"""
import argparse

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2TokenizerFast,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

DEFAULTS = dict(
    seed=0, hidden=128, layers=4, heads=4, kv=2, vdepth=2, vhidden=64, vheads=4, vocab=600,
    min_pixels=56 * 56, max_pixels=28 * 28 * 64,
)
parser = argparse.ArgumentParser()
parser.add_argument("out")
for name, value in DEFAULTS.items():
    parser.add_argument("--" + name, type=int, default=value)
args = parser.parse_args()

SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]
CHAT = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CORPUS = (
    "what is the answer to this question about the image? think step by step <think> </think> <answer> </answer> "
    "yes no A B C D 0 1 2 3 4 5 6 7 8 9 [x1, y1, x2, y2] the sum of the digits is"
)

bpe = Tokenizer(models.BPE())
bpe.normalizer = normalizers.NFC()
bpe.pre_tokenizer = pre_tokenizers.Sequence([
    pre_tokenizers.Split(Regex(SPLIT), "isolated"),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
])
bpe.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=args.vocab - len(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=[]
)
bpe.train_from_iterator([CORPUS] * 50, trainer)
tokenizer = Qwen2TokenizerFast(
    tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=SPECIAL
)
tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
tokenizer.chat_template = CHAT
ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}

torch.manual_seed(args.seed)
half = args.hidden // args.heads // 2
sections = [half - 2 * (half * 3 // 8), half * 3 // 8, half * 3 // 8]
config = Qwen2_5_VLConfig(
    text_config=dict(
        vocab_size=len(tokenizer), hidden_size=args.hidden, intermediate_size=3 * args.hidden,
        num_hidden_layers=args.layers, num_attention_heads=args.heads, num_key_value_heads=args.kv,
        max_position_embeddings=4096, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="default", rope_theta=1e6, mrope_section=sections),
        bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"],
    ),
    vision_config=dict(
        depth=args.vdepth, hidden_size=args.vhidden, intermediate_size=3 * args.vhidden, num_heads=args.vheads,
        out_hidden_size=args.hidden, patch_size=14, spatial_merge_size=2, temporal_patch_size=2, window_size=112,
        fullatt_block_indexes=[args.vdepth - 1],
    ),
    image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
    vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    tie_word_embeddings=False,
)
model = Qwen2_5_VLForConditionalGeneration(config).float().eval()
images = Qwen2VLImageProcessor(min_pixels=args.min_pixels, max_pixels=args.max_pixels)
processor = Qwen2_5_VLProcessor(
    image_processor=images, tokenizer=tokenizer, video_processor=Qwen2VLVideoProcessor(), chat_template=CHAT
)
model.save_pretrained(args.out)
processor.save_pretrained(args.out)
print(f"{sum(x.numel() for x in model.parameters()) / 1e6:.2f} M parameters in {args.out}")
