"""Score maps on disk and in memory: encoding, shards, pyramid, journal, locks."""
