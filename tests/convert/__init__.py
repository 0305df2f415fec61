"""From a checkpoint to files, with llama.cpp's own as the oracle."""
