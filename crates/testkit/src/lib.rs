//! Development only: corpus runner, builders, layering and licence tests.
