"""What the tests of the roles share."""
