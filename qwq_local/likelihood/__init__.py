"""How likely a model finds a text: perplexity, and divergence from another model, as llama.cpp's llama-perplexity defines them."""
