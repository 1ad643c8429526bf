//! The public side: listener, limits, pipeline, errors, static files, base injection.

pub mod body;
pub mod connection;
pub mod listener;
