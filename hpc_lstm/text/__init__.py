"""Tables as text, and text that fits a terminal."""
