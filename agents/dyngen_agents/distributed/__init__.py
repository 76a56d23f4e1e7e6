"""Training in several processes at once (`processes`), and stopping a run by Ctrl-C (`interrupt`)."""
