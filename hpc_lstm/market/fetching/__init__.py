"""Fetching from Yahoo: what to ask for, how often, and what to do with the answers."""
