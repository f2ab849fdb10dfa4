//! Resources from files, and one stream of changes to them.
