"""What of a mapped file lies in RAM: asking, reading ahead, and keeping to a budget."""
