"""OpenAI's chat completions and its older completions: platform.openai.com/docs/api-reference."""
