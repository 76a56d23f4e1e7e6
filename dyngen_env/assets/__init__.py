"""What ships inside the package: the human-rated review texts and the small language model trained on them."""
