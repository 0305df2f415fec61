"""Ollama's API: docs.ollama.com/api."""
