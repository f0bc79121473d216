"""Money from elsewhere: attempts to pay that a channel decides, and the channels themselves."""
