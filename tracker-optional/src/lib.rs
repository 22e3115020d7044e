//! The optional meeting point for nodes that no multicast joins. Nothing of it exists yet; every node works without it.
