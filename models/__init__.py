"""Models, one file each: mlp, lstm, resnet, transformer, bert, gpt. Each builds on the public API only.

pretrained.py: loading and saving weights as they are published; generation.py: sampling and beam search.
"""
