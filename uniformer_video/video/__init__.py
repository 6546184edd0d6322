"""Video files: readers behind one protocol, and which frames to take. Knows no configuration and no network."""
