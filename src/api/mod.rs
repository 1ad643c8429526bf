//! The management API: what `{prefix}/api` answers, on the public listener with keys and on the admin socket.

pub mod types;
