"""Numbers and tables as text, and text that fits a terminal."""
