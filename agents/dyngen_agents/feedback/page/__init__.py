"""`dyngen serve`: a page on which people talk with a model, rate, correct and compare what it says."""
