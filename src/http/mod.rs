//! The public side: listener, limits, pipeline, errors, static files, base injection.

mod answers;
pub mod connection;
mod csrf;
pub mod files;
mod forward;
mod handshake;
pub mod html;
pub mod kept;
pub mod landing;
pub mod listener;
pub mod live;
pub mod management;
pub mod negotiate;
mod origin;
pub mod page;
mod peer;
pub mod pipeline;
pub mod problem;
pub mod redirect;
mod request_id;
mod split;
pub mod trace;
mod watch;
