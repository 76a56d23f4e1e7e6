"""The Gymnasium environments: a batch of token MDPs, its view of one row, and the parts they are made of."""
