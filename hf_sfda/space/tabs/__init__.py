"""The tabs of the page, one file per tab: its components and the functions that they call."""
