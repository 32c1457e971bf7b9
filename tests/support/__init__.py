"""What tests share: an app, a clock, servers, networks, and the tiers. Nothing here is a test."""
