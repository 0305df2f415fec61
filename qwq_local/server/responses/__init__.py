"""OpenAI's Responses: platform.openai.com/docs/api-reference/responses."""
