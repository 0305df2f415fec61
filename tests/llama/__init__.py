"""The C boundary, with llama.cpp itself as the oracle."""
