"""qwq-nano: how it was trained, and the problems it was trained on."""
