"""Anthropic's messages: platform.claude.com/docs/en/api/messages."""
