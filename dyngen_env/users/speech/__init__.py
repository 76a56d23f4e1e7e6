"""Speech: voices that say what users say, and recognisers that write down what they heard."""
