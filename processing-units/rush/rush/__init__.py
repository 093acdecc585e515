"""Selling seats in a rush: the airline's rules, with its data laid out for them."""
