//! The public side: listener, limits, pipeline, errors, static files, base injection.

pub mod body;
pub mod files;
pub mod html;
pub mod landing;
pub mod negotiate;
pub mod page;
pub mod problem;
