"""The forms in which a round is published; each is a function of the leaderboard and the score table."""
