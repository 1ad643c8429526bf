//! The public side: listener, limits, pipeline, errors, static files, base injection.

pub mod body;
