"""What we claim, measured: each module measures ours and a peer, interleaved in one run."""
