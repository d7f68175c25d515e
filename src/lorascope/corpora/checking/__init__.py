"""Is a corpus whole, and what about it is suspicious?"""
