//! Durations and sizes as people write them.
// STUB: to be filled in
