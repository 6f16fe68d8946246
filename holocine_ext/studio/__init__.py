"""The page: a film is written, watched and changed in a browser, over the files and the session of the commands."""
