"""A network as a row of stages, a strategy as a table over that row, and the LightningModule that holds both."""
