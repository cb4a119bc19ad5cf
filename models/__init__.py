"""Models, one file each: mlp, transformer, bert. Each builds on the public API only."""
