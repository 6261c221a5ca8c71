"""The participant's side: what would go wrong with one submission in a tournament, before it is handed in."""
