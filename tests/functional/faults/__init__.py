"""Random operations of many processes, while things fail around them."""
