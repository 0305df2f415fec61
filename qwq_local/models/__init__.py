"""Which file, and does it fit?"""
