//! Resources exactly as on the wire.
