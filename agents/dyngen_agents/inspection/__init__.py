"""The page of `dyngen inspect`: every token that a policy wrote, with its numbers."""
