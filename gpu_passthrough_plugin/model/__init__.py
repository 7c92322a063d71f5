"""The nouns of the product: frozen values that know nothing of the world."""
