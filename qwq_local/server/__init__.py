"""The REST endpoint: existing clients of OpenAI, Anthropic and Ollama, unchanged. Each wire format over one internal request."""
