"""The only room that changes the world."""
