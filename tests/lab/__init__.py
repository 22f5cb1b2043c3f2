"""What the tests of real servers are made with."""
