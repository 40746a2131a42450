"""Load runs and predictions, compute scores and statistics, and print them."""
