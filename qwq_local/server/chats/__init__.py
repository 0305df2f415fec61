"""The page's own format: chats that the server keeps, and answers that are written there whoever looks on."""
