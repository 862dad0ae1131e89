"""One file a tab: its components, and which function of the back end each of them calls."""
