"""Small worlds in text: what is true in them, as pure functions of which tasks, users and rewards are made."""
