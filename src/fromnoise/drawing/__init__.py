"""What a request asks of the networks: what it leaves open, what it begins from, and how it goes on."""
